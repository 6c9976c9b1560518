"""One module per kind of policy file that is written; each writes, and acts with what it has written."""
