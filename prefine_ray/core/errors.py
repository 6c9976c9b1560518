"""The errors that a user can fix; the command line shows them as one message without a traceback."""

from __future__ import annotations

INTERRUPTED, TERMINATED = 130, 143  # exit statuses of a process that Ctrl-C or SIGTERM ended, as shells have them


class PrefineError(Exception):
    """Something that a user can fix; the message names the file or setting, what is wrong, and what would be right."""


class DamagedFileError(PrefineError, ValueError):
    """A file of ours is missing, cut, altered or of another kind; the message names it."""


def last_line(text: str) -> str:
    """The last line of an error's text, which says what it was."""
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "unknown error"
