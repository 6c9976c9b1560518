"""TODO."""

from __future__ import annotations

from typing import Literal, TypeVar

from pydantic import model_validator

from prefine_ray.core.settings import Exponent, Positive, PositiveFloat, Section, Share

PreferredChoice = Literal["best", "random", "labels"]


KeepBy = Literal["base", "both"]


NarrowBy = Literal["contrast", "cost"]


ByKind = TypeVar("ByKind")


def _of_kind(value: ByKind | dict[PreferredChoice, ByKind], preferred: str, default: ByKind) -> ByKind:
    """A setting for a kind of preferred trajectories: one value for all, or one for each kind."""
    if not isinstance(value, dict):
        return value
    return next((own for kind, own in value.items() if kind == preferred), default)


class FineTuneConfig(Section):
    """The objective of PREFINE and its optimiser."""

    # Share of the preferred trajectories that is learnt from, and by what they are chosen: base, those that the base
    # policy finds likeliest; both, of these those that are likelier under a clone of D_p than under one of D_np. One
    # value, or one for each kind of preferred trajectories, e.g. {random: 0.3}.
    keep: Share | dict[PreferredChoice, Share] = 1.0
    keep_by: KeepBy | dict[PreferredChoice, KeepBy] = "base"
    # Of those kept, the share (1 + w)^-narrow: at w = 0 all of them. By contrast, those that are least like D_np; by
    # cost, those of the lowest recorded cost (which sees through wrong labels). See `prefine_ray.methods.selection`.
    # One value each, or one for each kind.
    narrow: Exponent | dict[PreferredChoice, Exponent] = 0.0
    narrow_by: NarrowBy | dict[PreferredChoice, NarrowBy] = "contrast"
    steps: Positive = 500  # gradient steps
    batch_size: Positive = 256  # segments per side (D_p and D_np) and step
    segment: Positive = 1  # consecutive steps whose log-ratios are summed
    learning_rate: PositiveFloat = 2e-4  # Adam
    schedule: Literal["constant", "cosine"] = "constant"  # of the learning rate; cosine: it falls to 0 at the last step
    beta: PositiveFloat = 0.1  # inverse temperature of the preference
    log_ratio_limit: PositiveFloat = 2.0  # bound on a segment's log-ratio
    log_std_min: float = -2.0  # floor of log sigma, in the policy and in the reference
    counterfactuals: Literal["learner", "actors", "closed_loop"] = "learner"
    temperature: PositiveFloat = 1.0  # scales sigma when counterfactuals are sampled
    refresh_every: Positive = 50  # steps between two generations of counterfactuals by actors
    window_episodes: Positive = 16  # episodes per side of one such generation
    log_every: Positive = 25  # steps between two points of the learning curves
    checkpoint_every: Positive = 250  # steps between two checkpoints of the Train worker

    def share_kept(self, preferred: str) -> float:
        """`keep` for a kind of preferred trajectories."""
        return _of_kind(self.keep, preferred, 1.0)

    def kept_by(self, preferred: str) -> KeepBy:
        """`keep_by` for a kind of preferred trajectories."""
        return _of_kind(self.keep_by, preferred, "base")

    def narrowed_by(self, preferred: str) -> NarrowBy:
        """`narrow_by` for a kind of preferred trajectories."""
        return _of_kind(self.narrow_by, preferred, "contrast")

    def share_narrowed(self, preferred: str, weight: float) -> float:
        """The share of those kept that is learnt from at weight w."""
        return (1.0 + weight) ** -_of_kind(self.narrow, preferred, 0.0)

    @model_validator(mode="after")
    def _whole_stretches(self) -> FineTuneConfig:
        if self.counterfactuals != "learner" and self.checkpoint_every % self.refresh_every:
            raise ValueError("checkpoint_every must be a multiple of refresh_every where actors make counterfactuals")
        return self
