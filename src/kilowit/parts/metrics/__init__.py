"""Quality metrics, one file each; `kilowit.parts.metric` says what a metric is."""
