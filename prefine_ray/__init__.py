"""Preference-based safety fine-tuning (PREFINE) as distributed experiments on Ray."""

from __future__ import annotations

from typing import Any

__all__ = ["TASKS", "load_policy", "make_env"]


def __getattr__(name: str) -> Any:
    """Loads the public names when they are first used, so that `prefine --help` starts at once."""
    if name == "make_env":
        from prefine_ray.simulators import make_env

        return make_env
    if name == "load_policy":
        from prefine_ray.policies.files import load_policy

        return load_policy
    if name == "TASKS":
        from prefine_ray.tasks.spec import TASKS

        return TASKS
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
