"""Issuing: from rows of claims to committed attestations, resumable at any moment."""
