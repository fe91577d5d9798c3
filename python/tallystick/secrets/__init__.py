"""Ledger secrets: recovery shares, the chain of secrets, and the private tables that they open.

Nothing here prints a secret. Keys come from files that the caller names, never from a command line.
"""
