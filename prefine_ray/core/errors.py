"""The errors that a user can fix; the command line shows them as one message without a traceback."""

from __future__ import annotations


class PrefineError(Exception):
    """Something that a user can fix; the message names the file or setting, what is wrong, and what would be right."""
