"""One fine-tuning job: from a pack of cells and its inputs to a trained population, without Ray."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from prefine_ray.cells import Cell, Pack, TaskInputs
from prefine_ray.config import SweepConfig
from prefine_ray.counterfactual import CounterfactualGenerator, CounterfactualSource, LocalSource, Mode
from prefine_ray.episode_table import EpisodeTable
from prefine_ray.learner import Learner
from prefine_ray.policy import GaussianPolicy, PolicyHeader, load_policy
from prefine_ray.population import Member
from prefine_ray.preferences import PreferenceSets, read_labels, split_by_threshold
from prefine_ray.seeding import derive, numpy_generator
from prefine_ray.trajectories import Trajectories, read_dsrl, read_summary


@dataclass(frozen=True)
class FineTuneJob:
    """What a fine-tuning worker needs to know; small and picklable."""

    pack: Pack
    inputs: TaskInputs
    config: SweepConfig

    @property
    def mode(self) -> Mode:
        """Which counterfactuals a source has to generate."""
        return "closed_loop" if self.config.finetune.counterfactuals == "closed_loop" else "state_matched"


def preference_sets(job: FineTuneJob, cell: Cell, summary: EpisodeTable) -> PreferenceSets:
    """The preferred and dispreferred episodes of one cell."""
    chosen = job.config.preferences
    if cell.preferred == "labels":
        assert chosen.labels is not None
        return read_labels(chosen.labels.format(task=cell.task), len(summary))
    return split_by_threshold(
        summary,
        cell.threshold,
        preferred="best" if cell.preferred == "best" else "random",
        num_preferred=chosen.num_preferred,
        num_dispreferred=chosen.num_dispreferred,
        rng=numpy_generator(job.config.seed, cell.task, cell.seed, "preferences"),
        label_noise=chosen.label_noise,
    )


def load_members(job: FineTuneJob) -> tuple[Trajectories, list[Member]]:
    """The episodes that the pack learns from, and its members with indices into them."""
    summary = read_summary(job.inputs.data_path, job.pack.task)
    sets = [preference_sets(job, cell, summary) for cell in job.pack.cells]
    used = np.unique(np.concatenate([side for s in sets for side in (s.preferred, s.dispreferred)]))
    members = [
        Member(
            weight=cell.weight,
            preferred=np.searchsorted(used, s.preferred),
            dispreferred=np.searchsorted(used, s.dispreferred),
            seed=derive(job.config.seed, cell.task, cell.seed, "learner"),
        )
        for cell, s in zip(job.pack.cells, sets, strict=True)
    ]
    return read_dsrl(job.inputs.data_path, job.pack.task, used), members


def make_learner(job: FineTuneJob, device: str = "cpu", source: CounterfactualSource | None = None) -> Learner:
    """The learner of a job; where it needs a source of counterfactuals and none is given, this process is one."""
    trajectories, members = load_members(job)
    if source is None and job.config.finetune.counterfactuals != "learner":
        source = LocalSource(CounterfactualGenerator(job.pack.task, trajectories, job.mode))
    return Learner(load_policy(job.inputs.base_path), trajectories, members, job.config.finetune, device, source)


class CurveRecorder:
    """Collects the metrics of logging steps as rows, one per cell and step."""

    def __init__(self, pack: Pack):
        self._pack = pack
        self._rows: list[dict[str, Any]] = []

    def __call__(self, step: int, metrics: dict[str, torch.Tensor]) -> None:
        """Adds the metrics [P] of one step."""
        columns = {name: values.tolist() for name, values in metrics.items()}
        for index, cell in enumerate(self._pack.cells):
            values = {name: column[index] for name, column in columns.items()}
            self._rows.append({**cell.identity, "step": step, **values})

    def frame(self) -> pd.DataFrame:
        """What was recorded."""
        return pd.DataFrame(self._rows)

    def restore(self, frame: pd.DataFrame) -> None:
        """Goes on from what an earlier worker recorded."""
        self._rows = [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def trial_rows(job: FineTuneJob, curves: pd.DataFrame, policies: GaussianPolicy, wall_s: float) -> pd.DataFrame:
    """One row per cell: how it ended, and its last training metrics."""
    last = curves.sort_values("step", kind="stable").groupby("cell").last()
    rows = []
    for index, cell in enumerate(job.pack.cells):
        finite = all(torch.isfinite(value[index]).all() for value in policies.state_dict().values())
        row = {
            **cell.identity,
            "status": "finished" if finite else "failed",
            "error": "" if finite else "diverged: the policy holds NaN or infinity",
            "steps": job.config.finetune.steps,
            "wall_s": wall_s / len(job.pack.cells),
            **last.loc[cell.name].drop(labels=[*(k for k in cell.identity if k != "cell"), "step"]).to_dict(),
        }
        rows.append(row)
    return pd.DataFrame(rows)


def policy_header(job: FineTuneJob, cell: Cell) -> PolicyHeader:
    """What the file of a fine-tuned policy says of itself."""
    made_by = {
        "command": "prefine sweep",
        **cell.identity,
        "base": Path(job.inputs.base_path).name,
        "base_digest": job.inputs.base_digest,
        "data_digest": job.inputs.data_digest,
        "finetune": job.config.finetune.model_dump(mode="json"),
    }
    return PolicyHeader(task=cell.task, made_by=made_by)
