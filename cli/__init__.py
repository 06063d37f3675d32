"""The command line: one file per role; each command parses, calls and renders."""
