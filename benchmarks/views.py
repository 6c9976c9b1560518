"""What `prefine report` and `prefine status` take on a results folder: CPU seconds and peak memory, as ratios.

    python -m benchmarks.results_folder DIR --cells 100000
    python -m benchmarks.views DIR [--before CHECKOUT]

CHECKOUT is a folder with an older version of this repository, which is run in turn with this one on the same folder:
first by each as if nothing were kept from earlier calls (DIR/cache is removed), then again. CPU seconds are of the
command and its children and hardly depend on what else the machine does; they include 3 to 5 s of imports.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import markdown_table
from prefine_ray.results.paths import ResultsPaths

COMMANDS = ("status", "report")


@dataclass(frozen=True)
class Taken:
    """What a command took."""

    cpu_s: float
    peak_mb: float


def run_view(command: str, folder: Path, checkout: Path, limit_s: int) -> Taken | None:
    """Runs `prefine COMMAND FOLDER` by the code of a checkout; None where it took more than `limit_s` CPU seconds."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s + 5))

    words = [sys.executable, "-m", "prefine_ray", command, str(folder.absolute())]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    process = subprocess.Popen(words, cwd=checkout, env=environment, stdout=subprocess.DEVNULL, preexec_fn=limit)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode < 0:
        return None
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with status {process.returncode}")
    return Taken(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def compare(folder: Path, before: Path | None, limit_s: int) -> list[list[str]]:
    """A row per command: first and again, by this version and by the one before."""
    here = Path(__file__).resolve().parents[1]
    rows = []
    for command in COMMANDS:
        old = run_view(command, folder, before.resolve(), limit_s) if before else None
        shutil.rmtree(ResultsPaths(folder).cache_folder, ignore_errors=True)
        for name in ("first", "again"):
            new = run_view(command, folder, here, limit_s)
            ratio = f"{old.cpu_s / new.cpu_s:.1f}" if old and new else "-"
            rows.append([f"{command}, {name}", *_texts(old), *_texts(new), ratio])
    return rows


def _texts(taken: Taken | None) -> list[str]:
    return ["-", "-"] if taken is None else [f"{taken.cpu_s:.1f}", f"{taken.peak_mb:.0f}"]


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--before", type=Path, metavar="CHECKOUT")
    parser.add_argument("--limit", type=int, default=900, metavar="S", help="CPU seconds of a command")
    options = parser.parse_args(words)
    header = ["command", "before, CPU s", "peak MB", "now, CPU s", "peak MB", "ratio"]
    print(markdown_table(header, compare(options.folder, options.before, options.limit)))


if __name__ == "__main__":
    main()
