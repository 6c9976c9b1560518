"""Interleaved measurements of contenders that run in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import platform
import statistics
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from benchmarks.process_tree import cpu_seconds

SINGLE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Sample(NamedTuple):
    """What one process did in one measurement."""

    steps: int
    wall_s: float
    cpu_s: float  # of this process and of its workers


class Loop(Protocol):
    """Something that steps environments."""

    def run(self, seconds: float) -> Sample:
        """Steps for about `seconds`."""

    def close(self) -> None:
        """Frees what it holds."""


def timed_loop(step: Callable[[], int], seconds: float, workers: Sequence[int] = ()) -> Sample:
    """Calls `step`, which says how many environment steps it made, until the time is up.

    Args:
        step: called again and again.
        seconds: of the clock.
        workers: process ids whose CPU time counts too.
    """
    steps, started, cpu = 0, time.perf_counter(), time.process_time() + cpu_seconds(workers)
    end = started + seconds
    while time.perf_counter() < end:
        steps += step()
    wall = time.perf_counter() - started
    return Sample(steps, wall, time.process_time() + cpu_seconds(workers) - cpu)


@dataclass(frozen=True)
class Rate:
    """Steps per second of a whole group: of the clock, and of CPU time."""

    wall: float
    cpu: float


class Group:
    """The same loop in `count` processes, which run at the same time.

    Args:
        make: builds the loop in the process; a module-level function or a partial of one.
        count: processes.
    """

    def __init__(self, make: Callable[[], Loop], count: int):
        context = multiprocessing.get_context("forkserver")
        self._pipes: list[Connection] = []
        self._processes = []
        for _ in range(count):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(make, there))
            process.start()
            there.close()
            self._pipes.append(here)
            self._processes.append(process)

    def wait_until_ready(self) -> None:
        """Waits until every process has built its loop.

        Raises:
            RuntimeError: a loop could not be built; the message holds its traceback.
        """
        for pipe in self._pipes:
            _receive(pipe)

    def run(self, seconds: float) -> Rate:
        """One measurement of all processes together."""
        for pipe in self._pipes:
            pipe.send(seconds)
        samples: list[Sample] = [_receive(pipe) for pipe in self._pipes]
        steps, cpu_s = sum(s.steps for s in samples), sum(s.cpu_s for s in samples)
        return Rate(sum(s.steps / s.wall_s for s in samples), steps / max(cpu_s, 1e-9))

    def close(self) -> None:
        """Ends the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join()


def _receive(pipe: Connection) -> Any:
    answer = pipe.recv()
    if isinstance(answer, str):
        raise RuntimeError(f"a benchmark process failed:\n{answer}")
    return answer


def _serve(make: Callable[[], Loop], pipe: Connection) -> None:
    """Runs a loop whenever the parent asks; ends when the parent closes the pipe."""
    try:
        loop = make()
        pipe.send(None)
        while True:
            try:
                seconds = pipe.recv()
            except EOFError:
                break
            pipe.send(loop.run(seconds))
        loop.close()
    except Exception:
        pipe.send(traceback.format_exc())


def measure(groups: Mapping[str, Group], seconds: float, rounds: int) -> dict[str, list[Rate]]:
    """Rates of each group in `rounds` rounds, one group after another, so that a machine's moods hit all alike."""
    for group in groups.values():
        group.wait_until_ready()
    for group in groups.values():
        group.run(min(seconds, 0.5))  # warms caches and lazy set-up
    rates: dict[str, list[Rate]] = {name: [] for name in groups}
    for _ in range(rounds):
        for name, group in groups.items():
            rates[name].append(group.run(seconds))
    return rates


def median(values: Sequence[float]) -> float:
    """The median, and 0 for nothing."""
    return statistics.median(values) if values else 0.0


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def prepare_processes(modules: Sequence[str]) -> None:
    """One thread for each process started from here on, and these modules imported once for all of them."""
    use_one_thread_per_process()
    multiprocessing.set_forkserver_preload(list(modules))


def use_one_thread_per_process() -> None:
    """For the processes started from here on: parallelism is by processes."""
    for name in SINGLE_THREAD:
        os.environ[name] = "1"


def machine() -> dict[str, Any]:
    """What a table needs to say of where it was made."""
    load = os.getloadavg()[0]
    return {
        "date": date.today().isoformat(),
        "cpu": _cpu_model(),
        "cores": cores(),
        "python": platform.python_version(),
        "load_before": round(load, 2),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, padded for the terminal; the first column is left-aligned."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *(line(row) for row in rows)])
