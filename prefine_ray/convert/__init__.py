"""Policies of other libraries in, policies of ours out, and other people's data in."""
