"""Preference-based safety fine-tuning (PREFINE) as distributed experiments on Ray."""

from __future__ import annotations

import importlib
from typing import Any

from prefine_ray.gymnasium_ids import register_ids

__version__ = "0.1.0"

_PLACES = {
    "TASKS": "prefine_ray.tasks.spec:TASKS",
    "EpisodeRecorder": "prefine_ray.simulators.clients.recorder:EpisodeRecorder",
    "FineTuneSettings": "prefine_ray.methods.prefine.settings:FineTuneSettings",
    "SelectionSettings": "prefine_ray.methods.selection:SelectionSettings",
    "SixValuedEnv": "prefine_ray.simulators.clients.six_valued:SixValuedEnv",
    "Trajectories": "prefine_ray.data.trajectories:Trajectories",
    "collect": "prefine_ray.api:collect",
    "concatenate": "prefine_ray.data.trajectories:concatenate",
    "evaluate": "prefine_ray.api:evaluate",
    "evaluate_all": "prefine_ray.show:evaluate_all",
    "finetune": "prefine_ray.api:finetune",
    "load_policy": "prefine_ray.policies.files:load_policy",
    "load_results": "prefine_ray.analysis.rows:load_results",
    "load_trajectories": "prefine_ray.data.hdf5:read_dsrl",
    "make_env": "prefine_ray.simulators:make_env",
    "plot_front": "prefine_ray.show:plot_front",
    "register_axis": "prefine_ray.experiment.axes:register_axis",
    "register_method": "prefine_ray.methods.registry:register",
    "register_task": "prefine_ray.tasks.registration:register_task",
    "result_table": "prefine_ray.show:result_table",
    "run_sweep": "prefine_ray.api:run_sweep",
    "save_policy": "prefine_ray.policies.files:save_policy",
    "save_trajectories": "prefine_ray.data.hdf5:write_dsrl",
    "split_preferences": "prefine_ray.api:split_preferences",
}
__all__ = [
    "TASKS",
    "EpisodeRecorder",
    "FineTuneSettings",
    "SelectionSettings",
    "SixValuedEnv",
    "Trajectories",
    "collect",
    "concatenate",
    "evaluate",
    "evaluate_all",
    "finetune",
    "load_policy",
    "load_results",
    "load_trajectories",
    "make_env",
    "plot_front",
    "register_axis",
    "register_method",
    "register_task",
    "result_table",
    "run_sweep",
    "save_policy",
    "save_trajectories",
    "split_preferences",
]

register_ids()


def __getattr__(name: str) -> Any:
    """Loads the public names when they are first used, so that `prefine --help` starts at once."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _PLACES[name].split(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted({*globals(), *__all__})
