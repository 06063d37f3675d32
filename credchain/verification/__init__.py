"""Verification: evidence from a node in, a statement with numbered checks out.

No sockets, no clock, no database: the caller gives the time and the bytes.
"""
