"""PREFINE: objective and learner."""
