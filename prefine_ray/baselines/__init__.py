"""The methods that fine-tuning is compared with, each one readable file, trained as populations like the learner."""
