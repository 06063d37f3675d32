"""The ledger: transactions, the rules that apply them, the state and its proofs, blocks, genesis.

Pure functions over bytes and values: no clock, no randomness, no I/O.
"""
