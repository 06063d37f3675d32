"""The node: one process that keeps a validator's ledger and answers clients."""
