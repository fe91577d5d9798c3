"""Requests that Python answers: which endpoint, who calls, in which transaction, with what answer.

The HTTP front is native code. It hands every request that is not the application's to a
:class:`~tallystick.node.http.dispatch.Dispatcher`, which finds the endpoint in a
:class:`~tallystick.node.http.registry.Registry`, lets the endpoint's policies tell who calls, runs the handler
in a transaction, and gives back status, headers and body.
"""
