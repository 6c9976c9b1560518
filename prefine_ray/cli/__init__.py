"""The `prefine` command."""
