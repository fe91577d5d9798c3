"""Endpoints that every node has: under ``/node``, and the common ones under ``/node``, ``/gov`` and ``/app``."""
