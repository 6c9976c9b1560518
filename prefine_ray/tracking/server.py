"""Whether an MLflow server answers."""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.request
from urllib.parse import urlsplit

_TIMEOUT_S = 10.0


def server_problem(uri: str) -> str | None:
    """Why this machine does not reach a tracking server or database, with the remedy; None for one that answers.

    A store in a file, such as sqlite, is not tried.
    """
    parts = urlsplit(uri)
    try:
        if parts.scheme in ("http", "https"):
            bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
            urllib.request.urlopen(f"{bare.geturl().rstrip('/')}/health", timeout=_TIMEOUT_S).close()
        elif parts.hostname:
            socket.create_connection((parts.hostname, parts.port or 5432), _TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return None  # it answers; a proxy before it may want a login
    except OSError as error:
        shown = re.sub(r"//[^/@]*@", "//", uri)
        return (
            f"does not reach MLflow at {shown} ({getattr(error, 'reason', error)}); "
            "start it on an address that every node reaches, and set MLFLOW_TRACKING_URI to that"
        )
    return None
