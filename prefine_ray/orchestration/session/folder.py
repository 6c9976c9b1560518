"""The folder of a Ray of this machine: sockets, logs, spilled objects."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import ray

from prefine_ray.core.errors import PrefineError

LEAST_FREE = 2**20  # bytes; with fewer Ray cannot write its logs
_LEAST_TO_START = 100 * 2**20
_SOCKET_BYTES = 107  # of the path of a socket, on Linux
_LONGEST = "/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
_SHORT = Path("/tmp")
_REMEDY = "set RAY_TMPDIR to a folder that you may write, with a short path and room for some GB"


class RayFolderError(PrefineError, OSError):
    """Ray has no folder that it can use; the message names it and the remedy."""


def choose_folder() -> str:
    """The folder for a Ray that starts on this machine: `ray` in RAY_TMPDIR, else in TMPDIR or /tmp.

    A TMPDIR that is too long for the paths of Ray's sockets is not used, with a line that says so.

    Raises:
        RayFolderError: the folder cannot be written, has no room, or RAY_TMPDIR is too long.
    """
    asked = os.environ.get("RAY_TMPDIR")
    place = Path(asked or os.environ.get("TMPDIR") or tempfile.gettempdir()).absolute()
    if _is_too_long(place):
        if asked:
            most = _SOCKET_BYTES - len(_LONGEST)
            raise RayFolderError(
                f"RAY_TMPDIR={asked}: too long for the paths of Ray's sockets; give one of at most {most} characters"
            )
        print(f"TMPDIR={place} is too long for the paths of Ray's sockets; Ray uses {_SHORT}", flush=True)
        place = _SHORT
    _check(place / "ray")
    return str(place / "ray")


def session_folder() -> Path:
    """The folder of the Ray that was joined or started, on this machine."""
    node: Any = ray._private.worker._global_node
    return Path(node.get_session_dir_path())


def _is_too_long(place: Path) -> bool:
    return len(os.fsencode(place)) + len(_LONGEST) > _SOCKET_BYTES


def _check(folder: Path) -> None:
    there = folder
    while not there.exists():
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise RayFolderError(f"{folder}: Ray's folder cannot be written; {_REMEDY}")
    if shutil.disk_usage(there).free < _LEAST_TO_START:
        raise RayFolderError(f"{folder}: the disk of Ray's folder has no room; make some, or {_REMEDY}")
