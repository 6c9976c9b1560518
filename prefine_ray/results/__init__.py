"""The results folder, which is the truth of a sweep."""
