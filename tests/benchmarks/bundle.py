"""Verifying a bundle of 8 credentials, all checks, against the raw time of its signatures.

    python -m tests.benchmarks.bundle [network folder made by credchain demo --keep]

In process: decode, open the evidence, judge; against verifying the same signatures alone (a certificate,
the bundle's own, and one a credential). The bound is 1.5. As a process: `verify FILE --offline`, against
importing Typer in a bare Python, the unlocking of the key apart; the bound is 2.
"""

from __future__ import annotations
