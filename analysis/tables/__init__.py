"""A summary as tables, and tables as text."""
