"""Packaged recipes: one file each, named in a study by its name in place of a list of methods."""
