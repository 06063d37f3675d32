"""Storage: SQLite databases, encrypted key files, and the files of a home. All SQL is here."""
