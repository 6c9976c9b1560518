"""The sweep: tasks are made ready one after another, and Ray Tune runs the packs of those that are ready."""
