"""A method and an axis that the package does not know: what somebody would write to add theirs."""

from __future__ import annotations

from prefine_ray.core.settings import Advanced, MethodSettings, OneOrSeveral, Positive, PositiveFloat
from prefine_ray.experiment.axes import Axis, register_axis
from prefine_ray.methods.bc_baselines import BCSettings, BehaviouralCloning
from prefine_ray.methods.registry import LearnerInputs, Method, register


class ToySettings(MethodSettings):
    """Of a cloning of the preferred trajectories."""

    steps: Positive = 20
    batch_size: Positive = 32
    learning_rate: PositiveFloat = 1e-3
    advanced: Advanced = Advanced(log_every=5, checkpoint_every=10)


def _learner(settings: MethodSettings, inputs: LearnerInputs) -> BehaviouralCloning:
    rate = settings.learning_rate * inputs.shared["toy_rate"]
    plain = {**settings.model_dump(), "learning_rate": rate}
    plain["advanced"] = {**plain["advanced"], "hidden": (16, 16)}
    return BehaviouralCloning(inputs.trajectories, inputs.members, BCSettings(**plain), inputs.device)


register_axis(
    Axis(
        "toy_rate",
        "toy_rates",
        OneOrSeveral[PositiveFloat],
        (1.0,),
        0.0,
        label=lambda rate: f"rate={rate:g}",
        shared=True,
    )
)
register(
    Method(
        name="toy",
        shown="Toy cloner",
        section="toy",
        settings=ToySettings,
        learner=_learner,
        axes=("preferred", "num_preferred", "label_noise", "threshold", "toy_rate"),
    )
)
