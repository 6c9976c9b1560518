"""The configuration of a study with simulated raters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from prefine_ray.core.settings import Fraction, OneOrSeveral, Positive, Section, Share
from prefine_ray.experiment.config import config_text, has_key, parse_mapping, validated
from prefine_ray.labeling.active import POOL
from prefine_ray.labeling.simulated import Order, Use
from prefine_ray.methods.gaussian_cloning import CloneConfig
from prefine_ray.methods.prefine.settings import FineTuneSettings
from prefine_ray.methods.selection import CLONES, Selection, SelectionSettings
from prefine_ray.rollouts.collection import DataConfig
from prefine_ray.tasks.spec import get_task


class StudyConfig(Section):
    """How many answers of simulated raters make a policy safe: a grid of cells, five axes beside the replicates."""

    # Of the study, and of the folder results/NAME.
    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=100)
    seed: Annotated[int, Field(ge=0)] = 0  # the experiment seed, from which all randomness derives
    tasks: OneOrSeveral[str]  # names of `prefine tasks` for which behaviours are shipped
    replicates: Positive = 5  # each with its own data, base policy, questions, errors, training and episodes
    uses: OneOrSeveral[Use] = ("labels", "pairs_as_sides", "pairs")  # what is asked, and what is made of the answers
    orders: OneOrSeveral[Order] = ("random", "active")  # of the questions
    errors: OneOrSeveral[Fraction] = (0.0, 0.1, 0.2, 0.3)  # probabilities of a wrong answer
    answers: OneOrSeveral[Annotated[int, Field(gt=0, le=POOL)]] = (10, 20, 40, 80, 160)  # how many are trained on
    # Rolled-out data; draws: own (a set for each replicate), or overlapping (two thirds of one set each).
    data: DataConfig = DataConfig(episodes=200)
    margin: Share = 0.5  # raters call a clip safe that costs at most margin * the task's middle threshold
    base_steps: Positive = 3000  # gradient steps of the cloned base policies
    hidden: tuple[Positive, ...] = (256, 256)  # hidden layers of all policies
    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 20.0  # w of L = w L_safety + L_reward
    selection: Selection = SelectionSettings(rule="contrast")  # but with pairs as pairs, where all are trained on
    selection_steps: Positive = CLONES.steps  # gradient steps of the clones that the selection compares
    finetune: FineTuneSettings = FineTuneSettings()  # its batch_size is that of the clones, too
    evaluation_episodes: Positive = 20  # per policy

    @field_validator("tasks")
    @classmethod
    def _canonical(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(get_task(name).name for name in names))

    @property
    def base(self) -> CloneConfig:
        """How base policies are cloned."""
        return CloneConfig(steps=self.base_steps, batch_size=self.finetune.batch_size, hidden=self.hidden)

    @property
    def clones(self) -> CloneConfig:
        """How the selection's clones are made."""
        return CloneConfig(steps=self.selection_steps, batch_size=self.finetune.batch_size, hidden=self.hidden)


def is_study_file(path: Path) -> bool:
    """Whether a configuration file is of a study."""
    return has_key(path, "answers")


def load_study(path: Path) -> StudyConfig:
    """Reads the configuration file of a study.

    Raises:
        ConfigError: naming the file, the key and what would be right.
    """
    return validated(StudyConfig, parse_mapping(config_text(path), path), path)
