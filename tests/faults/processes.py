"""Processes of a tree, found in /proc and killed by their id."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def title(pid: int) -> str:
    """The command line, which Ray sets to what a worker does."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it ended meanwhile
            children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def named(roots: list[int], beginning: str) -> list[int]:
    """The processes of some trees whose command line begins so."""
    return [pid for root in roots for pid in tree(root) if title(pid).startswith(beginning)]


def kill(*pids: int) -> None:
    """SIGKILL; those that are gone already are none of our business."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def wait_for(condition: Callable[[], T | None], what: str, timeout: float = 900, pause: float = 0.05) -> T:
    """The condition's first true value."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(pause)
    raise AssertionError(f"waited {timeout:g} s in vain for {what}")
