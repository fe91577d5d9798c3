"""Attestation evidence: what the hardware says of the code that a node runs, checked offline."""
