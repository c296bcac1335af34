"""Efficiency methods, one file each with its card; `kilowit.parts.method` says what a method is."""
