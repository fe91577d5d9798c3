"""Same history? Comparing copies of a ledger, and evidence of two histories that a third party can check."""
