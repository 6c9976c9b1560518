"""How Ray Tune runs the trials of a sweep or a search."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune

from prefine_ray.orchestration.cluster import TRIAL_CPUS
from prefine_ray.orchestration.context import SweepContext
from prefine_ray.orchestration.failures import TRIAL_FAILURES

Trainable = Callable[..., None]  # of a trial's config, and of `context`


def run_trials(
    trainable: Trainable,
    context: SweepContext,
    name: str,
    progress: tune.Callback,
    param_space: dict[str, Any] | None = None,
    **choice: Any,
) -> None:
    """Runs trials until there are no more.

    Args:
        trainable: runs one trial.
        context: what all trials share.
        name: folder in DIR/ray.
        progress: is told of every trial.
        param_space: the configs of the trials, or what a searcher need not suggest.
        choice: further settings of Tune, which say what trials there are.
    """
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(trainable, context=context), {"cpu": TRIAL_CPUS}),
        param_space=param_space,
        tune_config=tune.TuneConfig(
            max_concurrent_trials=context.plan.concurrent_trials,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
            **choice,
        ),
        run_config=tune.RunConfig(
            name=name,
            storage_path=str(context.results.ray_folder.resolve()),
            failure_config=tune.FailureConfig(max_failures=TRIAL_FAILURES),
            callbacks=[progress],
            verbose=0,
        ),
    )
    tuner.fit()


def remove_fit(context: SweepContext, pack: str) -> None:
    """Removes the checkpoints of a pack whose rows and policies are on disk."""
    shutil.rmtree(Path(context.train_storage) / pack, ignore_errors=True)
