"""The settings of PREFINE, and of supervised fine-tuning, which is its anchor alone."""

from __future__ import annotations

from typing import Literal

from prefine_ray.core.settings import Advanced, MethodSettings, Positive, PositiveFloat

# Who samples the counterfactuals: the learner with each batch; Ray actors at the same states; or Ray actors in
# episodes of the policy from the same initial states.
Counterfactual = Literal["learner", "actors", "closed_loop"]


class FineTuneAdvanced(Advanced):
    """Settings of the fine-tuning that hardly anybody changes."""

    segment: Positive = 1  # consecutive steps whose log-ratios are summed
    refresh_every: Positive = 50  # gradient steps between two generations of counterfactuals by actors
    window_episodes: Positive = 16  # episodes per side of one such generation
    log_every: Positive = 25
    checkpoint_every: Positive = 250


class FineTuneSettings(MethodSettings):
    """The objective of PREFINE and its optimiser (see `prefine_ray.methods.prefine.objective`)."""

    steps: Positive = 500  # gradient steps
    batch_size: Positive = 256  # segments per side (D_p and D_np) and step
    learning_rate: PositiveFloat = 2e-4  # Adam
    schedule: Literal["constant", "cosine"] = "constant"  # of the learning rate; cosine: it falls to 0 at the last step
    beta: PositiveFloat = 0.1  # inverse temperature of the preference
    log_ratio_limit: PositiveFloat = 2.0  # bound on a segment's log-ratio
    log_std_min: float = -2.0  # floor of log sigma, in the policy and in the reference
    temperature: PositiveFloat = 1.0  # scales sigma when counterfactuals are sampled
    advanced: FineTuneAdvanced = FineTuneAdvanced()

    @property
    def least_steps(self) -> int:
        """Steps that a trajectory must have to be trained on."""
        return self.advanced.segment
