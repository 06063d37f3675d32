"""credchain: credentials of radiologists, attested once and verified with proofs."""

__version__ = "0.1.0"
