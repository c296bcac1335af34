"""Sensors, one file each; `kilowit.parts.sensor` says what a sensor is."""
