"""How far a sweep is, while it runs and later."""
