"""Engines: ways to train. Each takes a `TrainJob` and returns a `TrainResult`."""
