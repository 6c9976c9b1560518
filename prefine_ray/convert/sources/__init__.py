"""One module per kind of policy file that is read; each has a `read` that gives a `Network`."""
