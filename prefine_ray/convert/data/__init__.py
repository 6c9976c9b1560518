"""One module per kind of data set that is read; each has a `read` that gives episodes."""
