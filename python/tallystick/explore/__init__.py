"""A local page over a ledger: transactions, tables, keys, governance, Merkle paths, and what is proven."""
