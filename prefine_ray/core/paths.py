"""Paths as people write them: relative, with ~ and $VARIABLES, and with {task} for a task's name."""

from __future__ import annotations

import os
import re
import string
from pathlib import Path

from prefine_ray.core.errors import PrefineError

_UNSET = re.compile(r"\$(\w+|\{[^}]*\})")
_FIELD = "task"


class PathTextError(PrefineError, ValueError):
    """A path cannot be used as it is written; the message says why."""


def expand(text: str) -> str:
    """The path with ~ and $VARIABLES replaced by what they stand for.

    Raises:
        PathTextError: it is empty, or names a variable that is not set or a user that there is not.
    """
    if not text.strip():
        raise PathTextError("a path is needed, not an empty text")
    if not text.isprintable():
        raise PathTextError(f"{text!r}: holds a character that no path should have")
    expanded = os.path.expandvars(text)
    if unset := _UNSET.search(expanded):
        raise PathTextError(f"{text}: the environment variable {unset[0]} is not set")
    expanded = os.path.expanduser(expanded)
    if expanded.startswith("~"):
        raise PathTextError(f"{text}: there is no user {expanded.partition('/')[0].removeprefix('~')!r}")
    return expanded


def absolute_template(text: str) -> str:
    """The absolute path of one that is written relative to the working directory; {task} stays in it.

    Doing it twice changes nothing, so that a configuration that was kept means the same files in any folder.

    Raises:
        PathTextError: as `expand`, and for other names in braces than {task}.
    """
    expanded = expand(text)
    try:
        fields = [
            f"{name}!{kind}" if kind else f"{name}:{form}" if form else name
            for _, name, form, kind in string.Formatter().parse(expanded)
            if name is not None
        ]
    except ValueError as error:
        raise PathTextError(f"{text}: {error}; write {{{{ for a brace itself") from error
    for name in fields:
        if name != _FIELD:
            raise PathTextError(f"{text}: {{{name}}} stands for nothing; only {{{_FIELD}}}, the task's name, does")
    here = os.getcwd().replace("{", "{{").replace("}", "}}")
    return str(Path(here) / expanded)


def path_of(template: str, task: str) -> Path:
    """The path of one task. Raises as `absolute_template`."""
    return Path(absolute_template(template).format(task=task))
