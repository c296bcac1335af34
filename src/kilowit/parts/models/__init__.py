"""Model families and training-free baselines, one file each; `kilowit.parts.model` says what a family is."""
