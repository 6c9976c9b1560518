"""Pretraining: one PPO run gives a reward-optimised base policy and a ladder of behaviours down to safe ones.

Phase 1 maximises the reward alone; where that ends in a poor gait, its first part is guided by a penalty on what the
cost limits (speed, position) beyond the limit. Phase 2 continues from it and punishes what is beyond a cap, and the
cost itself. The cap, and where it is fixed the size of the penalty, moves so that the episode cost follows a limit,
which falls from the data sets' `cost_max` to below the strictest threshold (or rises back, see `rising_limit`).
Policies are saved all the way; the ladder is a dozen of them, spread over the reward-cost plane.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import ray
from tqdm import tqdm

from prefine_ray.core.checked_json import parse_json
from prefine_ray.core.errors import PrefineError
from prefine_ray.core.files import read_bytes, write_text
from prefine_ray.policies.files import save_policy
from prefine_ray.policies.gaussian import GaussianPolicy, PolicyHeader
from prefine_ray.pretrain.ladder import Snapshot, make_ladder, plane_point
from prefine_ray.pretrain.ppo import Penalty, VectorPPO, build_algorithm
from prefine_ray.pretrain.recipes import Recipe, recipe_for
from prefine_ray.pretrain.start import warm_start
from prefine_ray.tasks.spec import Task, get_task

SNAPSHOT_SPACING = (1 / 200, 1 / 40)  # share of the steps: at least, at most
CHECKPOINT_SECONDS = 60.0
HIGHEST_CAP = 20.0  # in the units of `Recipe.excess`


class PretrainError(PrefineError, ValueError):
    """A pretraining run cannot be started or resumed as asked."""


@dataclass
class Progress:
    """Everything of a run beside RLlib's checkpoint; saved with it."""

    task: str
    total_steps: int
    seed: int
    steps: int = 0
    iteration: int = 0
    phase: int = 1
    cap: float = 0.0  # excess over the task's limits that phase 2 leaves unpunished; it falls
    limit: float = 0.0  # on the episode cost, in phase 2
    gain: float = 1.0  # of the penalty; it grows where the cap alone does not bring the cost down
    penalty_unit: float = 0.0  # reward per step when phase 2 began
    first_cost: float = 0.0  # episode cost when phase 2 began
    cost: float = 0.0  # running estimate of the episode cost
    wall_seconds: float = 0.0
    recipe: dict[str, Any] = field(default_factory=dict)
    snapshots: list[Snapshot] = field(default_factory=list)


def read_progress(path: Path) -> Progress:
    """The progress that lies beside RLlib's checkpoint.

    Raises:
        PretrainError: it is missing, cut or altered; the message says how to resume without it.
    """
    try:
        state = parse_json(read_bytes(path))
        found = Progress(**{**state, "snapshots": [Snapshot(**snapshot) for snapshot in state["snapshots"]]})
        numbers = [value for name, value in vars(found).items() if name not in ("task", "recipe", "snapshots")]
        if not all(isinstance(number, int | float) for number in numbers):
            raise ValueError("holds a number that is none")
        if odd := [one.name for one in found.snapshots if Path(one.name).name != one.name]:
            raise ValueError(f"names a snapshot in another folder, {odd[0]!r}")
        return found
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise PretrainError(f"{path}: {reason}; remove {path.parent} to resume from the one before it") from error


def pretrain(
    task: str | Task,
    output_dir: str | Path,
    steps: int | None = None,
    seed: int = 0,
    num_workers: int = 0,
    resume: bool = False,
) -> Path:
    """Trains a base policy and behaviours for a task.

    Args:
        task: the task.
        output_dir: gets `snapshots/`, `checkpoints/`, and in the end `ladder/` with its `manifest.json`.
        steps: environment steps; default: the task's recipe.
        seed: of networks, episodes and exploration.
        num_workers: Ray actors that sample; 0 samples in the learner's process.
        resume: continue from the last checkpoint in `output_dir`.

    Returns:
        The folder of the ladder.

    Raises:
        PretrainError: `output_dir` holds a run and `resume` is off, or holds none to resume, or another one.
    """
    run = _Run(get_task(task), Path(output_dir), steps, seed, resume)
    with _ray(num_workers):
        return run.train(num_workers)


class _Run:
    """One run: the loop around the algorithm."""

    def __init__(self, task: Task, folder: Path, steps: int | None, seed: int, resume: bool) -> None:
        self.task, self.folder = task, folder
        self.recipe: Recipe = recipe_for(task)
        if steps is not None:
            self.recipe = replace(self.recipe, steps=steps)
        self.progress = Progress(task.name, self.recipe.steps, seed, recipe=asdict(self.recipe))
        self.checkpoint: Path | None = None
        existing = sorted((folder / "checkpoints").glob("[0-9]*"))
        if existing and not resume:
            raise PretrainError(f"{folder} already holds a run; pass resume=True, or choose another folder")
        if resume:
            self._find_checkpoint(existing)

    def _find_checkpoint(self, existing: list[Path]) -> None:
        if not existing:
            raise PretrainError(f"{self.folder} holds no checkpoint to resume; start without resume")
        self.checkpoint = existing[-1]
        found = read_progress(self.checkpoint / "progress.json")
        asked = {"task": self.task.name, "total_steps": self.recipe.steps, "seed": self.progress.seed}
        for key, value in asked.items():
            if getattr(found, key) != value:
                raise PretrainError(f"{self.checkpoint}: the run has {key} {getattr(found, key)}, not {value}")
        self.progress = found

    def train(self, num_workers: int) -> Path:
        """Runs to the end of the steps; returns the ladder's folder."""
        progress = self.progress
        algorithm = build_algorithm(self.task, self.recipe, progress.seed, num_workers, progress.steps)
        if self.checkpoint is not None:
            algorithm.restore_from_path(str((self.checkpoint / "algorithm").resolve()))
        started, saved = time.monotonic() - progress.wall_seconds, time.monotonic()
        bar = tqdm(
            total=progress.total_steps, initial=progress.steps, unit="step", mininterval=2.0, desc=self.task.name
        )
        try:
            with _deferred_interrupt() as interrupted:
                if self.checkpoint is None and self.recipe.start is not None:
                    self._warm_start(algorithm)
                while progress.steps < progress.total_steps:
                    self._iterate(algorithm, bar)
                    progress.wall_seconds = time.monotonic() - started
                    if interrupted.is_set() or time.monotonic() - saved > CHECKPOINT_SECONDS:
                        self._save(algorithm)
                        saved = time.monotonic()
                    if interrupted.is_set():
                        tqdm.write(f"stopped at {progress.steps} steps; the checkpoint is in {self.folder}")
                        raise KeyboardInterrupt
            self._save(algorithm)
        finally:
            bar.close()
            algorithm.stop()
        return self._make_ladder()

    def _warm_start(self, algorithm: VectorPPO) -> None:
        """Starts from a controller; others, and those that keep to limits on the cost, are saved on the way."""
        for recipe, limit in starts(self.recipe):
            warm_start(self.task, recipe, algorithm.module, self.progress.seed, limit)
            self._snapshot(algorithm, 0.0, 0.0)  # scored when the ladder is made
        algorithm.send_weights()

    def _iterate(self, algorithm: VectorPPO, bar: tqdm) -> None:
        progress, before = self.progress, algorithm.steps
        algorithm.penalty = self._penalty()
        algorithm.train()
        progress.steps += algorithm.steps - before
        progress.iteration += 1
        self._update_cap(algorithm)
        bar.update(algorithm.steps - before)
        if algorithm.episodes:
            returns, costs, _ = np.mean(algorithm.episodes, axis=0)
            state = f"phase {progress.phase}, cap {progress.cap:.2f}, gain {progress.gain:.1f}"
            bar.set_postfix_str(f"{state}, return {returns:.1f}, cost {costs:.1f}", refresh=False)
            self._maybe_snapshot(algorithm, float(returns), float(costs))

    def _penalty(self) -> Penalty:
        """Of the next iteration."""
        progress, recipe = self.progress, self.recipe
        if progress.phase == 1:
            guided = progress.steps < recipe.guided_share * progress.total_steps
            return Penalty(slope=recipe.guide if guided else 0.0)
        unit = progress.penalty_unit * progress.gain
        free_from = self.task.horizon - progress.limit if recipe.sprint else math.inf
        return Penalty(unit * recipe.slope, unit * recipe.cost_weight, progress.cap, free_from)

    def _update_cap(self, algorithm: VectorPPO) -> None:
        """Starts phase 2 when its time has come; there, moves the cap by how far the cost is from its limit."""
        progress, recipe = self.progress, self.recipe
        length = np.mean([episode[2] for episode in algorithm.episodes]) if algorithm.episodes else self.task.horizon
        share = min(1.0, recipe.rollout_length / self.task.horizon)  # so that the estimate covers whole episodes
        progress.cost += share * (algorithm.cost_per_step * float(length) - progress.cost)
        done = progress.steps / progress.total_steps
        if done < recipe.reward_share:
            return
        if progress.phase == 1:
            progress.phase = 2
            progress.first_cost = progress.cost
            progress.cap = recipe.lowest_cap if recipe.fixed_cap else algorithm.excess
            progress.penalty_unit = max(abs(algorithm.reward_per_step), 1e-3)
        share = (done - recipe.reward_share) / (1.0 - recipe.reward_share)
        if recipe.sprint:
            limit = rising_limit(self.task, share, recipe.last_limit)
        else:
            limit = cost_limit(self.task, progress.first_cost, share, recipe.last_limit)
        progress.limit = limit
        error = np.clip((progress.cost - limit) / max(limit, 0.02 * self.task.cost_max), -1.0, 1.0)
        self._steer(float(error))

    def _steer(self, error: float) -> None:
        """Moves the cap against `error` (-1 to 1); once it is as low as it goes, the penalty grows."""
        progress, rate, lowest = self.progress, self.recipe.cap_rate, self.recipe.lowest_cap
        if (error > 0 and progress.cap <= lowest) or (error < 0 and progress.gain > 1):
            progress.gain = float(np.clip(progress.gain * np.exp(0.5 * rate * error), 1.0, self.recipe.largest_gain))
        if not self.recipe.fixed_cap and (error > 0 or progress.gain <= 1):
            progress.cap = float(np.clip(progress.cap - rate * error * max(0.5, progress.cap), lowest, HIGHEST_CAP))

    def _maybe_snapshot(self, algorithm: VectorPPO, returns: float, costs: float) -> None:
        """Saves the policy when it has moved in the reward-cost plane, or not for long."""
        progress = self.progress
        if progress.snapshots:
            last = progress.snapshots[-1]
            since = (progress.steps - last.made_by["steps"]) / progress.total_steps
            here, there = (plane_point(self.task, *pair) for pair in ((returns, costs), last.place))
            if since < SNAPSHOT_SPACING[0] or (since < SNAPSHOT_SPACING[1] and np.linalg.norm(here - there) < 0.05):
                return
        self._snapshot(algorithm, returns, costs)

    def _command(self) -> str:
        progress = self.progress
        return f"prefine pretrain --task {progress.task} --steps {progress.total_steps} --seed {progress.seed}"

    def _snapshot(self, algorithm: VectorPPO, returns: float, costs: float) -> None:
        progress = self.progress
        name = f"{len(progress.snapshots):03d}_phase{progress.phase}_{progress.steps:08d}.safetensors"
        made_by = {
            "command": self._command(),
            "steps": progress.steps,
            "seed": progress.seed,
            "phase": progress.phase,
            "cap": progress.cap,
            "gain": progress.gain,
            "penalty_unit": progress.penalty_unit,
            "wall_seconds": round(progress.wall_seconds, 1),
        }
        scores = {"return": returns, "cost": costs}
        policy: GaussianPolicy = algorithm.module.policy
        save_policy(policy, self.folder / "snapshots" / name, PolicyHeader(self.task.name, made_by, scores))
        progress.snapshots.append(Snapshot(name, made_by, scores))

    def _save(self, algorithm: VectorPPO) -> None:
        """A checkpoint appears whole, by a rename, before the older ones go."""
        folder = self.folder / "checkpoints"
        target, part = folder / f"{self.progress.iteration:06d}", folder / "part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        algorithm.save_to_path(str((part / "algorithm").resolve()))
        write_text(part / "progress.json", json.dumps(asdict(self.progress)))
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
        for old in folder.glob("[0-9]*"):
            if old != target:
                shutil.rmtree(old)

    def _make_ladder(self) -> Path:
        """Copies the chosen snapshots to `ladder/`, scored on fresh episodes, with a manifest."""
        folder = self.folder / "ladder"
        shutil.rmtree(folder, ignore_errors=True)
        entries = make_ladder(self.task, self.folder / "snapshots", self.progress.snapshots, folder)
        manifest: dict[str, Any] = {
            "task": self.task.name,
            "command": self._command(),
            "seed": self.progress.seed,
            "steps": self.progress.steps,
            "wall_seconds": round(self.progress.wall_seconds, 1),
            "recipe": self.progress.recipe,
            "policies": entries,
        }
        write_text(folder / "manifest.json", json.dumps(manifest, indent=1) + "\n")
        return folder


def starts(recipe: Recipe) -> Iterator[tuple[Recipe, float | None]]:
    """The recipe with each controller that is cloned, and the limit on the episode cost that it keeps to."""
    for start in (*recipe.other_starts, recipe.start):
        for limit in recipe.start_limits or (None,):
            yield replace(recipe, start=start), limit


def cost_limit(task: Task, first_cost: float, progress: float, last_limit: float = 0.25) -> float:
    """The limit on the episode cost at this share of phase 2.

    It falls geometrically: from the base's cost to the data sets' `cost_max` in the first fifth, if that is lower,
    and from there to `last_limit` times the strictest threshold at four fifths, where it stays.
    """
    lowest = last_limit * task.thresholds[0]
    top = float(np.clip(first_cost, lowest, task.cost_max))
    if progress < 0.2 and first_cost > top:
        return top * (first_cost / top) ** (1.0 - progress / 0.2)
    begin = 0.2 if first_cost > top else 0.0
    return float(top * (lowest / top) ** np.clip((progress - begin) / (0.8 - begin), 0.0, 1.0))


def rising_limit(task: Task, progress: float, first_limit: float) -> float:
    """The limit on the episode cost at this share of phase 2, for recipes that sprint.

    It stays at `first_limit` times the strictest threshold for a fifth, and rises from there geometrically to the
    data sets' `cost_max`.
    """
    lowest = first_limit * task.thresholds[0]
    return float(lowest * (task.cost_max / lowest) ** np.clip((progress - 0.2) / 0.8, 0.0, 1.0))


@contextmanager
def _deferred_interrupt() -> Iterator[threading.Event]:
    """Sets the event at Ctrl-C instead of raising; a second Ctrl-C raises. Only in the main thread."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        event.set()

    signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _ray(num_workers: int) -> Iterator[None]:
    """A Ray cluster of this process, unless one is connected already."""
    for noisy in ("ray.rllib", "ray.tune", "ray._common"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    own = not ray.is_initialized()
    if own:
        ray.init(num_cpus=num_workers + 1, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    try:
        yield
    finally:
        if own:
            ray.shutdown()
