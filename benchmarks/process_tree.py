"""CPU time of a command and of everything that it starts, by kind of process (Linux)."""

from __future__ import annotations

import os
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")
POLL_S = 0.25  # what a process uses in its last moments is not seen


class _Process(NamedTuple):
    parent: int
    started: int  # clock ticks after boot; tells a reused pid
    cpu_s: float
    kind: str


@dataclass(frozen=True)
class Usage:
    """What a command took."""

    wall_s: float
    cpu_s: dict[str, float]  # by kind of process
    processes: dict[str, int]  # started, by the kind that each ended as
    status: int

    @property
    def total_cpu_s(self) -> float:
        """CPU seconds of all processes."""
        return sum(self.cpu_s.values())


def run_watched(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Usage:
    """Runs a command to its end; its output goes to `log`.

    A process counts if it descends from the command at some poll; it stays counted when its parent is gone.
    """
    started = time.perf_counter()
    cpu: defaultdict[str, float] = defaultdict(float)
    seen: dict[tuple[int, int], _Process] = {}
    with log.open("w") as output:
        root = subprocess.Popen(command, env=dict(environment), stdout=output, stderr=subprocess.STDOUT)
        while root.poll() is None:
            _poll(root.pid, seen, cpu)
            time.sleep(POLL_S)
    kinds = Counter(process.kind for process in seen.values())
    return Usage(
        time.perf_counter() - started,
        dict(sorted(cpu.items(), key=lambda pair: -pair[1])),
        dict(kinds.most_common()),
        root.returncode,
    )


def _poll(root: int, seen: dict[tuple[int, int], _Process], cpu: defaultdict[str, float]) -> None:
    """Adds what each process of the tree has used since the last poll to the kind that it is now."""
    processes = _all_processes()
    inside = {root} | {pid for pid, _ in seen}
    for _ in range(8):  # generations
        inside |= {pid for pid, process in processes.items() if process.parent in inside}
    for pid in inside & processes.keys():
        now = processes[pid]
        key = (pid, now.started)
        before = seen.get(key)
        if before is None and pid != root and now.parent not in inside:
            continue  # a stranger with a reused pid
        cpu[now.kind] += now.cpu_s - (before.cpu_s if before else 0.0)
        seen[key] = now


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU time that these processes have used so far; nothing for those that have ended."""
    return sum(process.cpu_s for pid in pids if (process := _read(str(pid))) is not None)


def _all_processes() -> dict[int, _Process]:
    found = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            process = _read(entry.name)
            if process is not None:
                found[int(entry.name)] = process
    return found


def _read(pid: str) -> _Process | None:
    try:
        fields = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()
        command = Path("/proc", pid, "cmdline").read_bytes()
    except OSError:  # it has just ended
        return None
    return _Process(int(fields[1]), int(fields[19]), (int(fields[11]) + int(fields[12])) / TICKS, _kind(command))


def _kind(command: bytes) -> str:
    """A short name: Ray's process titles as they are, otherwise the script or the program."""
    words = [word for word in command.decode(errors="replace").split("\0") if word]
    if not words:
        return "(ending)"
    if words[0].startswith("ray::"):
        return words[0].split("(")[0].split(".")[0].strip()
    scripts = [word for word in words[1:] if word.endswith(".py")]
    return Path(scripts[0] if scripts else words[0].split()[0]).name
