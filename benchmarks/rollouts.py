"""Environment steps per second: the physics alone, this project, and its peers, in one run.

    python -m benchmarks.rollouts --tasks BallRun HopperVelocity --seconds 2 --rounds 5 --json rollouts.json

Every contender acts with a 256-256 policy and unit noise, except `physics` and `single`, which act at random.
Multi-process contenders have one process per core, `physics` too: cores share caches and clocks, so that two do less
than twice what one does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from benchmarks.measure import (
    Group,
    Loop,
    Rate,
    cores,
    machine,
    markdown_table,
    measure,
    median,
    prepare_processes,
)
from benchmarks.ours import PhysicsLoop, SingleLoop, VectorLoop
from benchmarks.peers import PlainLoop, RLlibLoop, StableBaselinesLoop
from prefine_ray.rollouts.rollout import rollout_copies
from prefine_ray.tasks.spec import BENCHMARK, get_task

PEERS = ("plain", "dummy", "subproc", "rllib")
OURS = ("physics", "single", "vector")
PRELOADED = {
    "dummy": ("stable_baselines3",),
    "subproc": ("stable_baselines3",),
    "rllib": ("ray.rllib.algorithms.ppo",),
}
CLOCK_HELP = "of the table; cpu: steps per CPU second x cores, for a machine that has other work (default: %(default)s)"


@dataclass(frozen=True)
class Options:
    """What to measure and for how long."""

    tasks: tuple[str, ...] = BENCHMARK
    seconds: float = 2.0  # per measurement
    rounds: int = 5
    only: tuple[str, ...] = (*OURS, *PEERS)
    copies: int | None = None  # of the vector stepper, per process; None: as rollouts have them
    clock: Literal["wall", "cpu"] = "wall"  # of the table


def contenders(task: str, options: Options) -> dict[str, tuple[Callable[[], Loop], int]]:
    """Per contender how a process builds its loop, and the number of processes."""
    every = cores()
    known: dict[str, tuple[Callable[[], Loop], int]] = {
        "physics": (partial(PhysicsLoop, task), every),
        "single": (partial(SingleLoop, task), 1),
        "vector": (partial(VectorLoop, task, options.copies or rollout_copies(task)), every),
        "plain": (partial(PlainLoop, task), every),
        "dummy": (partial(StableBaselinesLoop, task), every),
        "subproc": (partial(StableBaselinesLoop, task, 2 * every), 1),
        "rllib": (partial(RLlibLoop, task), every),
    }
    return {name: known[name] for name in options.only}


def measure_task(task: str, options: Options) -> dict[str, Any]:
    """Rates of all contenders on one task, and the ratios."""
    with ExitStack() as stack:
        groups = {name: Group(*parts) for name, parts in contenders(task, options).items()}
        for group in groups.values():
            stack.callback(group.close)
        rates = measure(groups, options.seconds, options.rounds)
    return {"task": task, **summarise(rates)}


def summarise(rates: dict[str, list[Rate]]) -> dict[str, Any]:
    """Per clock the medians over the rounds and the ratios of the vector stepper to physics and to the best peer.

    By `cpu`, everything but `single` is multiplied by the cores, as if each were its own.
    """
    by_wall = {name: median([r.wall for r in many]) for name, many in rates.items()}
    by_cpu = {
        name: median([r.cpu for r in many]) * (1 if name == "single" else cores()) for name, many in rates.items()
    }
    rounds = {name: [asdict(rate) for rate in many] for name, many in rates.items()}
    return {"wall": _with_ratios(by_wall), "cpu": _with_ratios(by_cpu), "rounds": rounds}


def _with_ratios(rates: dict[str, float]) -> dict[str, Any]:
    result: dict[str, Any] = {"steps_per_s": rates}
    peers = [name for name in rates if name in PEERS]
    if "vector" in rates and "physics" in rates:
        result["of_physics"] = rates["vector"] / rates["physics"]
    if peers:
        result["best_peer"] = max(peers, key=lambda name: rates[name])
    if "vector" in rates and peers:
        result["over_best_peer"] = rates["vector"] / rates[result["best_peer"]]
    return result


def table(results: Sequence[dict[str, Any]], options: Options) -> str:
    """One row per task: steps per second of each contender, then the ratios."""
    header = ["task", *options.only, "of physics", "over best peer"]
    return markdown_table(header, [_row(result["task"], result[options.clock], options.only) for result in results])


def _row(task: str, result: dict[str, Any], names: Sequence[str]) -> list[str]:
    ratios = [
        f"{result['of_physics']:.0%}" if "of_physics" in result else "",
        f"{result['over_best_peer']:.1f} x {result['best_peer']}" if "over_best_peer" in result else "",
    ]
    return [task, *(f"{result['steps_per_s'][name]:,.0f}" for name in names), *ratios]


def run(options: Options, output: Path | None = None) -> dict[str, Any]:
    """Measures all tasks; prints each row, and writes what there is to `output`, when it is done."""
    used = {name: PRELOADED.get(name, ()) for name in options.only}
    prepare_processes(["benchmarks.ours", "benchmarks.peers", *(m for names in used.values() for m in names)])
    report: dict[str, Any] = {"machine": machine(), "options": vars(options), "tasks": []}
    for task in options.tasks:
        report["tasks"].append(measure_task(task, options))
        print(table(report["tasks"][-1:], options).splitlines()[-1], flush=True)
        if output:
            output.write_text(json.dumps(report, indent=1))
    return report


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", metavar="T", default=BENCHMARK)
    parser.add_argument("--seconds", type=float, default=2.0, help="per measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each contender (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=(*OURS, *PEERS), default=(*OURS, *PEERS), metavar="CONTENDER")
    parser.add_argument("--copies", type=int, help="of the vector stepper (default: as rollouts have them)")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help=CLOCK_HELP)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all numbers")
    given = parser.parse_args(arguments)
    tasks = tuple(get_task(name).name for name in given.tasks)
    options = Options(tasks, given.seconds, given.rounds, tuple(given.only), given.copies, given.clock)
    report = run(options, given.json)
    print(f"\n{report['machine']}, by {options.clock} time\n\n{table(report['tasks'], options)}")


if __name__ == "__main__":
    main()
