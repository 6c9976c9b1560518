"""The tasks: sizes, score constants and cost thresholds."""
