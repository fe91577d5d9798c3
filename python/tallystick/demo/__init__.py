"""A small service of our own: ledgers, snapshots and receipts in CCF's format, keys made on the spot.

It is what ``tallystick demo`` shows and what the tests and benches are fed with. It is no CCF node: it has no
network and runs no constitution; it writes down what a node would have written.
"""
