"""Hyperparameter searches: what a setting is worth, what is on disk of the trials, tables and the report."""
