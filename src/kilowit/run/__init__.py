"""Doing it: the coordinator hands cells to workers; a worker runs one cell, phase after phase."""
