"""Datasets, one file each; `kilowit.parts.dataset` says what a dataset is."""
