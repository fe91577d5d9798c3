"""Exports of a ledger for databases and data tools: every transaction and public write, with what proves them."""
