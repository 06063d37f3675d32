"""Sample data: a fictional consortium, its rosters and claims (see README.md)."""
