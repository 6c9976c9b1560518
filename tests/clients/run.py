"""Calls a program of this folder in the clients' environment, which is built when it is first needed."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


@functools.cache
def clients_python() -> Path:
    """The interpreter of the clients' environment."""
    folder = Path(sys.prefix) / "clients"
    build = [str(ROOT / ".ci" / "clients.sh"), sys.executable, str(folder)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "bin" / "python"


def run_client(program: str, *words: object) -> str:
    """What a program of this folder prints."""
    command = [str(clients_python()), str(Path(__file__).with_name(program)), *map(str, words)]
    done = subprocess.run(command, cwd=words[0], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
