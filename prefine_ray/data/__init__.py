"""Trajectories, their files, and the preferences drawn from them."""
