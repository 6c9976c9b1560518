"""Episodes in the simulator: data, evaluation, counterfactuals, pictures."""
