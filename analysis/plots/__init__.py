"""A summary as figures."""
