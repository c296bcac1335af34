"""Ways to run a trained summarizer, one file each; `kilowit.parts.runtime` says what a runtime is."""
