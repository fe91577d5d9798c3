"""Ledgers that are elsewhere, or still growing: downloading from nodes, and following."""
