"""A whole network of replicas in one process, in virtual time: a seed is a schedule, and replays exactly.

``python -m tests.simulation --help`` runs many. The parts: `scheduler` (virtual time), `keyring` and
`ledger` (small stand-ins for keys and ledger), `machine` (a node: replica, disk, clock), `network`
(links), `byzantine` (lies), `oracles` (what must never happen, and what must), `schedule` (what a seed
means), `stage` (schedules written by hand), `world` (ties them together).
"""
