"""The hyperparameter search: Optuna through Ray Tune."""
