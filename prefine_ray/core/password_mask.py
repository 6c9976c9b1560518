"""Addresses without their secrets: the one place that takes passwords and tokens out of what is shown."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

_HIDDEN = "***"
_USER = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*://)(?P<user>[^\s'\"<>]*@)")  # greedy: a password may hold / and @
_QUERY = re.compile(
    r"(?P<name>[?&;]\s*[\w.-]*(?:token|password|passwd|pwd|secret|key|auth|sig)[\w.-]*=)[^&;\s'\"#]+", re.I
)
_HEADER = re.compile(r"(?P<name>\b(?:Bearer|Basic)\s+)[A-Za-z0-9._~+/=-]{6,}")
_SHORTEST = 4  # characters of a secret that is looked for by itself


def mask(text: str, uri: str = "") -> str:
    """A text as it may be printed: addresses in it lose user, password and tokens.

    Args:
        text: an address, a message, a log line.
        uri: an address whose secrets must not stand in the text in any form, percent-encoded or not, even cut up.
    """
    for secret in sorted(_secrets(uri), key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    text = _USER.sub(lambda found: found["scheme"], text)
    text = _QUERY.sub(lambda found: found["name"] + _HIDDEN, text)
    return _HEADER.sub(lambda found: found["name"] + _HIDDEN, text)


def encode_user(uri: str) -> str:
    """The address with a user and password that hold @ or / percent-encoded, which libraries would cut there."""
    scheme, separator, rest = uri.partition("://")
    user, at, place = rest.rpartition("@")
    before = rest.partition("/")[0]
    port = before.partition(":")[2]
    if not at or ("@" not in before and (port.isdecimal() or ":" not in before)):
        return uri  # an @ in the path
    name, colon, password = user.partition(":")
    safe = [quote(unquote(part), safe="") for part in (name, password)]
    return f"{scheme}{separator}{safe[0]}{colon}{safe[1]}@{place}"


def _secrets(uri: str) -> set[str]:
    """Password and tokens of an address, as they stand in it and decoded."""
    found: set[str] = set()
    if user := _USER.search(uri):
        found.add(user["user"].rstrip("@"))
        found.add(user["user"].rstrip("@").partition(":")[2])
    found |= {match[0].partition("=")[2] for match in _QUERY.finditer(uri)}
    found |= {unquote(secret) for secret in found}
    found |= {piece for secret in found for piece in re.split("[@/:?#]", secret)}  # as libraries cut them up
    return {secret for secret in found if len(secret) >= _SHORTEST}
