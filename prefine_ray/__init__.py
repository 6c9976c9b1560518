"""Preference-based safety fine-tuning (PREFINE) as distributed experiments on Ray."""
