"""Fine-tuning's gradient steps: a population at once, the same policies singly, and a plain loop per policy.

    python -m benchmarks.learning --population 5 --seconds 2 --rounds 5 --json learning.json

Settings: `prefine` (256 states per side and step, ours), `cpl` (96 segments of 64 steps per side) and `trac` (96 whole
episodes of 100 steps per side). The plain loop has each method's own objective; ours is PREFINE's on equal batches.
Times are CPU times. With a GPU the population is also grown to 512.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.measure import machine, markdown_table, median
from benchmarks.plain_learner import PlainLearner
from prefine_ray.core.seeding import torch_generator
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.methods.population import Member
from prefine_ray.methods.prefine.learner import PrefineLearner
from prefine_ray.methods.prefine.settings import FineTuneAdvanced, FineTuneSettings
from prefine_ray.policies.gaussian import Architecture, GaussianPolicy
from prefine_ray.rollouts.rollout import rollout
from prefine_ray.simulators import VectorStepper
from prefine_ray.tasks.spec import get_task

SIDES = np.arange(100), np.arange(100, 120)  # episodes: N_p = 100, N_np = 20
SAME_STEPS = 50  # gradient steps over which losses are compared
GPU_POPULATIONS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


@dataclass(frozen=True)
class Setting:
    """Batch shape: segments per side and step, steps per segment."""

    batch: int
    segment: int


SETTINGS = {"prefine": Setting(256, 1), "cpl": Setting(96, 64), "trac": Setting(96, 100)}


@cache
def data(task: str) -> Trajectories:
    """120 noisy episodes of a random policy, at most 100 steps each."""
    stepper = VectorStepper(task, 60)
    episodes = rollout(start_policy(task, hidden=(16,)), stepper, np.arange(sum(map(len, SIDES))), noise_seed=0)
    stepper.close()
    return episodes


def start_policy(task: str, hidden: tuple[int, ...] = (256, 256)) -> GaussianPolicy:
    """A random policy."""
    known = get_task(task)
    return GaussianPolicy(Architecture(known.obs_dim, known.act_dim, hidden), 1, torch_generator(0, "start"))


def make_learner(task: str, setting: Setting, seeds: Sequence[int], device: str = "cpu") -> PrefineLearner:
    """Our learner with one member per seed."""
    config = FineTuneSettings(steps=10**9, batch_size=setting.batch, advanced=FineTuneAdvanced(segment=setting.segment))
    members = [Member(5.0, *SIDES, seed) for seed in seeds]
    return PrefineLearner(start_policy(task), data(task), members, config, device)


def trainer(learner: PrefineLearner) -> Callable[[int], None]:
    """Lets a learner take so many more steps."""
    return lambda steps: learner.train(learner.step + steps)


def seconds_per_step(train: Callable[[int], None], seconds: float, device: str) -> float:
    """Seconds per gradient step of a trainer that takes `n` of them at a call; CPU seconds on the CPU."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    train(2)
    steps, count, spent = 0, 1, 0.0
    while spent < seconds:
        started = clock()
        train(count)
        if device != "cpu":
            torch.cuda.synchronize()
        spent += clock() - started
        steps += count
        count = max(1, min(10 * count, int(0.25 * seconds / (spent / steps))))
    return spent / steps


def measure_setting(task: str, name: str, population: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Milliseconds per gradient step of the whole population, by three ways, interleaved."""
    setting, seeds = SETTINGS[name], range(population)
    together = make_learner(task, setting, seeds)
    singles = [make_learner(task, setting, [seed]) for seed in seeds]
    plain = PlainLearner(name, start_policy(task), data(task), SIDES, setting.batch, setting.segment)
    ways: dict[str, Callable[[int], None]] = {
        "plain": plain.train,
        "singly": trainer(singles[0]),
        "together": trainer(together),
    }
    difference = largest_difference(together, singles)
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, train in ways.items():
            times[way].append(1e3 * seconds_per_step(train, seconds, "cpu") * (1 if way == "together" else population))
    medians = {way: median(values) for way, values in times.items()}
    return {
        "setting": name,
        "population": population,
        "ms_per_step": medians,
        "of_singly": medians["together"] / medians["singly"],
        "over_plain": medians["plain"] / medians["together"],
        "largest_loss_difference": difference,
        "rounds": times,
    }


def largest_difference(together: PrefineLearner, singles: Sequence[PrefineLearner]) -> float:
    """The largest difference of losses between the population and the single runs, in `SAME_STEPS` steps."""
    losses = [losses_of(learner) for learner in (together, *singles)]
    return float((losses[0] - torch.cat(losses[1:], dim=1)).abs().max())


def losses_of(learner: PrefineLearner) -> torch.Tensor:
    """Losses [logged steps, P] of the next `SAME_STEPS` steps."""
    rows: list[torch.Tensor] = []
    learner.train(learner.step + SAME_STEPS, lambda _, metrics: rows.append(metrics["loss"]))
    return torch.stack(rows)


def measure_gpu(task: str, seconds: float, populations: Sequence[int] = GPU_POPULATIONS) -> list[dict[str, float]]:
    """Gradient steps per second, times policies, of growing populations on the GPU."""
    rows = []
    for population in populations:
        learner = make_learner(task, SETTINGS["prefine"], range(population), "cuda")
        each = seconds_per_step(trainer(learner), seconds, "cuda")
        memory = torch.cuda.max_memory_allocated() / 2**20
        rows.append({"population": population, "policy_steps_per_s": population / each, "memory_mib": memory})
    return rows


def table(results: Sequence[dict[str, Any]]) -> str:
    """One row per setting."""
    header = [
        "setting",
        "P",
        "plain loop x P, CPU ms",
        "ours singly x P, CPU ms",
        "ours together, CPU ms",
        "together / singly",
        "plain / together",
        "largest loss difference",
    ]
    rows = [
        [
            r["setting"],
            str(r["population"]),
            *(f"{r['ms_per_step'][way]:.1f}" for way in ("plain", "singly", "together")),
            f"{r['of_singly']:.2f}",
            f"{r['over_plain']:.1f}",
            f"{r['largest_loss_difference']:.1e}",
        ]
        for r in results
    ]
    return markdown_table(header, rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="BallRun", metavar="T")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=tuple(SETTINGS))
    parser.add_argument("--population", type=int, default=5, metavar="P")
    parser.add_argument("--seconds", type=float, default=2.0, help="per measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each way (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all numbers")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    report: dict[str, Any] = {"machine": machine(), "task": given.task}
    report["settings"] = [
        measure_setting(given.task, name, given.population, given.seconds, given.rounds) for name in given.settings
    ]
    print(f"{report['machine']}\n\n{table(report['settings'])}")
    if torch.cuda.is_available():
        report["gpu"] = measure_gpu(given.task, given.seconds)
        for row in report["gpu"]:
            print(f"{torch.cuda.get_device_name()}: {row}")
    if given.json:
        given.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
