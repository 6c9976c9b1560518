"""JSON from files that others may have written: every key once, plain numbers, a bounded size."""

from __future__ import annotations

import json
from typing import Any, NoReturn


class JSONContentError(ValueError):
    """The text is no JSON that we take; the message says why and where, without the name of the file."""


def parse_json(text: str | bytes, most: int = 2**26, allow_nan: bool = False) -> Any:
    """The content of a JSON text.

    Args:
        text: JSON.
        most: bytes or characters at most.
        allow_nan: whether NaN and infinity may stand for numbers, as Python writes them.

    Raises:
        JSONContentError: not JSON, a key that stands twice, NaN or infinity, nested too deeply, or too long.
    """
    if len(text) > most:
        raise JSONContentError(f"{len(text)} characters long; at most {most} are read")
    try:
        constant = float if allow_nan else _no_constant
        return json.loads(text, object_pairs_hook=_unique, parse_constant=constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise JSONContentError(f"line {error.lineno}: not JSON ({error.msg})") from None
    except UnicodeDecodeError as error:
        raise JSONContentError(f"not UTF-8 text ({error.reason})") from None
    except RecursionError:
        raise JSONContentError("nested too deeply") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise JSONContentError(f"key {twice!r} stands twice; leave one of the two")
    return content


def _no_constant(name: str) -> NoReturn:
    raise JSONContentError(f"{name} is not a number here; a finite one is needed")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise JSONContentError(f"{text} is too large for a number")
    return value
