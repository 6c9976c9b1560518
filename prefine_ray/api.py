"""The Python interface: from a data set to safe policies and their scores, without Ray; and whole sweeps with it.

import prefine_ray as pr

data = pr.collect("BallRun", episodes=60)
sides = pr.split_preferences(data, threshold=20, num_preferred=10, num_dispreferred=5)
tuned = pr.finetune("BallRun", pr.load_policy("base.safetensors"), data, sides, weights=(0, 5))
print(pr.evaluate(tuned.policy(weight=5), "BallRun")["normalized_cost"])
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from prefine_ray.data.preferences import NUM_DISPREFERRED, NUM_PREFERRED, PreferenceSets, split_by_threshold
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.experiment.config import SweepConfig, load_config, make_config
from prefine_ray.experiment.job import local_source, member, selected
from prefine_ray.experiment.shipped import find_config
from prefine_ray.methods.population import Metrics
from prefine_ray.methods.prefine.method import PREFINE
from prefine_ray.methods.prefine.settings import Counterfactual, FineTuneSettings
from prefine_ray.methods.registry import LearnerInputs
from prefine_ray.methods.selection import ALL, SelectionSettings
from prefine_ray.policies.gaussian import GaussianPolicy
from prefine_ray.rollouts.collection import DataConfig, make_data_set_here
from prefine_ray.rollouts.evaluation import evaluate as evaluate_policy
from prefine_ray.rollouts.evaluation import evaluation_seeds
from prefine_ray.rollouts.scores import scores
from prefine_ray.simulators import VectorStepper
from prefine_ray.tasks.spec import get_task


def collect(task: str, episodes: int = 300, seed: int = 0) -> Trajectories:
    """A data set from the shipped behaviours of a task, rolled out in this process.

    Args:
        task: a task's name.
        episodes: how many; spread over cost and reward as in DSRL's envelope.
        seed: of the rollouts.

    Raises:
        UnknownTaskError: no task has this name.
    """
    return make_data_set_here(get_task(task), DataConfig(episodes=episodes, seed=seed))


def split_preferences(
    trajectories: Trajectories,
    threshold: float,
    *,
    preferred: Literal["best", "random"] = "best",
    num_preferred: int = NUM_PREFERRED,
    num_dispreferred: int = NUM_DISPREFERRED,
    margin: float = 1.0,
    label_noise: float = 0.0,
    seed: int = 0,
) -> PreferenceSets:
    """Preferred (low-cost) and dispreferred (high-cost) trajectories, as `split_by_threshold` draws them.

    Args:
        trajectories: any.
        threshold: limit on the episode cost.
        preferred: those of the highest return, or a uniform draw.
        num_preferred: N_p.
        num_dispreferred: N_np.
        margin: preferred trajectories cost at most margin * threshold.
        label_noise: fraction of wrong labels.
        seed: of the draw.

    Returns:
        Numbers of episodes, ascending: `preferred` [N_p] and `dispreferred` [N_np].

    Raises:
        NotEnoughTrajectoriesError: a side has too few; the message says which thresholds work.
    """
    return split_by_threshold(
        trajectories.summary,
        threshold,
        preferred=preferred,
        num_preferred=num_preferred,
        num_dispreferred=num_dispreferred,
        rng=np.random.default_rng(seed),
        label_noise=label_noise,
        margin=margin,
    )


@dataclass(frozen=True)
class FineTuned:
    """What `finetune` made: a population with one member per weight and seed."""

    policies: GaussianPolicy  # P members
    members: tuple[tuple[float, int], ...]  # the (weight, seed) of each
    curves: pd.DataFrame  # training metrics; columns weight, seed, step and the metrics

    def policy(self, weight: float, seed: int | None = None) -> GaussianPolicy:
        """The policy of this weight, of the first seed by default; a population of one.

        Raises:
            KeyError: no member has this weight and seed.
        """
        for index, (own_weight, own_seed) in enumerate(self.members):
            if own_weight == weight and seed in (None, own_seed):
                return self.policies.select(index)
        raise KeyError(f"no member has weight {weight} and seed {seed}; there are (weight, seed) {self.members}")


def finetune(
    task: str,
    base: GaussianPolicy,
    trajectories: Trajectories,
    preferences: PreferenceSets,
    *,
    weights: Sequence[float] = (5.0,),
    seeds: Sequence[int] = (0,),
    settings: FineTuneSettings | None = None,
    selection: SelectionSettings | None = None,
    counterfactuals: Counterfactual = "learner",
    device: str = "cpu",
) -> FineTuned:
    """Fine-tunes a population with PREFINE in this process: one policy for each weight and seed, all at once.

    Args:
        task: a task's name.
        base: the policy to make safe, a population of one; it stays as it is.
        trajectories: the data.
        preferences: which of them are preferred, and which dispreferred.
        weights: reward/safety weights w of L = w L_safety + L_reward; 0 is supervised fine-tuning.
        seeds: of the batches.
        settings: of the fine-tuning.
        selection: which of the preferred trajectories are trained on; None: all.
        counterfactuals: who samples them; "actors" and "closed_loop" are made in this process, too.
        device: of PyTorch.

    Raises:
        NoResetSeedsError: closed-loop counterfactuals of data without reset seeds.
    """
    name, chosen = get_task(task).name, settings or FineTuneSettings()
    points = tuple((float(weight), int(seed)) for weight, seed in product(weights, seeds))
    members = [member(name, seed, preferences, weight=weight) for weight, seed in points]
    members = selected(trajectories, members, [selection or ALL] * len(members), lambda: base)
    mode = PREFINE.modes.get(counterfactuals)
    source = local_source(name, trajectories, mode)
    inputs = LearnerInputs(get_task(name), trajectories, members, base, device, mode=mode, source=source)
    learner, rows = PREFINE.learner(chosen, inputs), list[dict[str, Any]]()

    def record(step: int, metrics: Metrics) -> None:
        for index, (weight, seed) in enumerate(points):
            values = {metric: float(value[index]) for metric, value in metrics.items()}
            rows.append({"weight": weight, "seed": seed, "step": step, **values})

    learner.train(chosen.steps, record)
    return FineTuned(learner.policies(), points, pd.DataFrame(rows))


def evaluate(policy: GaussianPolicy, task: str, episodes: int = 20, seed: int = 0) -> dict[str, Any]:
    """Scores of a policy over fresh episodes with its mean actions, as `prefine evaluate --json` gives them.

    Args:
        policy: a population of one.
        task: a task's name.
        episodes: how many.
        seed: of the episodes.

    Raises:
        ValueError: fewer than one episode.
    """
    known, seeds = get_task(task), evaluation_seeds(0, get_task(task).name, seed, episodes)
    stepper = VectorStepper(known, episodes)
    table = evaluate_policy(policy, stepper, seeds)
    stepper.close()
    return scores(table, known)


def run_sweep(
    config: str | Path | dict[str, Any] | SweepConfig,
    results: str | Path,
    *,
    data_directory: str | Path = "data",
    address: str | None = None,
) -> Any:
    """Runs a sweep on Ray, or resumes it; its finished cells are not run again.

    Args:
        config: the name of a shipped configuration, a file, a mapping with the keys of a file, or a `SweepConfig`.
        results: the results folder, which `load_results` reads.
        data_directory: where collected data sets are kept.
        address: of a running Ray cluster, e.g. "auto"; None: a Ray of its own on this machine.

    Returns:
        How many cells there are (`total`), how many `finished` and how many `failed`.

    Raises:
        PrefineError: an input is wrong; the message says which, and what would be right.
    """
    from prefine_ray.orchestration import cluster
    from prefine_ray.orchestration.sweep.run import run_sweep as run
    from prefine_ray.results.folder import ResultsDir
    from prefine_ray.tracking.tracker import Tracker

    if isinstance(config, dict):
        config = make_config(**config)
    elif not isinstance(config, SweepConfig):
        config = load_config(find_config(str(config)))
    root = Path(results)
    tracker = Tracker(ResultsDir(root), config.name)
    cluster.connect(address)
    outcome = run(config, root, Path(data_directory), tracker)
    tracker.finish("FINISHED" if outcome.complete else "KILLED")
    return outcome
