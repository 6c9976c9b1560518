"""The navigation tasks of safety-gymnasium that no fast batch is written for, with upstream's own classes."""
