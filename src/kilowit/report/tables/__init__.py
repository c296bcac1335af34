"""The tables of the report: pure functions from runs to `Table`."""
