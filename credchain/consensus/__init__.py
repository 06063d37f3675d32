"""Minimal PBFT, sans-IO: one block in flight, each height its own instance (PROTOCOL.md, "Agreement").

Bytes and the clock come in, effects come out; the node carries them out in order. Written to be read
beside Castro & Liskov, *Practical Byzantine Fault Tolerance* (OSDI 1999); a height takes the place of
the sequence number, a block that of the request, and the commit certificate that of the checkpoint.
"""
