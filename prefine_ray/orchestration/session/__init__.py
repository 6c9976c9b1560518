"""The Ray session of a run: where its files lie, and how it ends."""
