"""Stands on the path before an amdsmi that cannot load AMD's library; see `kilowit.parts.executors.ray`."""

raise ImportError("AMD's library is not on this machine")
