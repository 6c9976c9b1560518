"""The records of PREFINE and of supervised fine-tuning (SFT), which share a learner.

SFT is the anchor alone, at weight 0, on all preferred trajectories: the control of both the loss and the selection.
"""

from __future__ import annotations

from prefine_ray.core.settings import MethodSettings
from prefine_ray.data.counterfactuals import Mode
from prefine_ray.methods.prefine.learner import PrefineLearner
from prefine_ray.methods.prefine.settings import FineTuneSettings
from prefine_ray.methods.registry import PREFERENCE_AXES, LearnerInputs, Method, register

_MODES: dict[str, Mode] = {"actors": "state_matched", "closed_loop": "closed_loop"}


def _learner(settings: MethodSettings, inputs: LearnerInputs) -> PrefineLearner:
    assert isinstance(settings, FineTuneSettings)
    assert inputs.base is not None
    return PrefineLearner(
        inputs.base, inputs.trajectories, inputs.members, settings, inputs.device, inputs.mode, inputs.source
    )


PREFINE = register(
    Method(
        name="prefine",
        shown="PREFINE",
        section="finetune",
        settings=FineTuneSettings,
        learner=_learner,
        axes=(*PREFERENCE_AXES, "selection", "counterfactuals", "weight"),
        needs_base=True,
        needs_dispreferred=True,
        modes=_MODES,
    )
)
SFT = register(
    Method(
        name="sft",
        shown="SFT",
        section="finetune",
        settings=FineTuneSettings,
        learner=_learner,
        axes=PREFERENCE_AXES,
        needs_base=True,
        needs_dispreferred=True,
    )
)
