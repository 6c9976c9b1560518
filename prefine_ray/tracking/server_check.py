"""Whether an MLflow server answers."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from prefine_ray.core.password_mask import mask

_TIMEOUT_S = 10.0


def server_problem(uri: str) -> str | None:
    """Why this machine does not reach a tracking server or database, with the remedy; None for one that answers.

    A store in a file, such as sqlite, is not tried.
    """
    remedy = "start it on an address that every node reaches, and set MLFLOW_TRACKING_URI to that"
    try:
        parts = urlsplit(uri)
        if parts.scheme in ("http", "https"):
            bare = parts._replace(netloc=parts.netloc.rpartition("@")[2])
            health = bare._replace(path=f"{bare.path.rstrip('/')}/health", fragment="").geturl()
            urllib.request.urlopen(health, timeout=_TIMEOUT_S).close()
        elif parts.hostname:
            socket.create_connection((parts.hostname, parts.port or 5432), _TIMEOUT_S).close()
    except urllib.error.HTTPError:
        return None  # it answers; a proxy in front may want a login
    except OSError as error:
        return f"does not reach MLflow at {mask(uri)} ({mask(str(getattr(error, 'reason', error)), uri)}); {remedy}"
    except ValueError as error:  # no address at all
        return f"cannot use MLFLOW_TRACKING_URI {mask(uri)} ({mask(str(error), uri)}); {remedy}"
    return None
