"""Credentials: their categories and claims, the SD-JWT VC that carries them, NPIs and subjects.

Nothing here knows the ledger, a clock or a file.
"""
