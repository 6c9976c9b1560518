"""The page on which people judge clips of trajectories, and what comes of their answers."""
