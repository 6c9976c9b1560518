"""MLflow as a view of a results folder."""
