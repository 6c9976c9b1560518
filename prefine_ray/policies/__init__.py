"""The policy module and its file format."""
