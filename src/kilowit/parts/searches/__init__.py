"""Searches, one a file: ways to find good settings. `kilowit.parts.search` says what one is."""
