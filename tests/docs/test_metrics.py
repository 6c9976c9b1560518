"""Each method has a page, and its page explains the metrics that the learner logs: all of them and no others."""

from __future__ import annotations

import re

import pytest

from prefine_ray.methods.population import Member
from prefine_ray.methods.registry import LearnerInputs, Method, methods
from prefine_ray.rollouts.counterfactuals import CounterfactualGenerator, LocalSource
from prefine_ray.tasks.spec import get_task
from tests.docs.conftest import ROOT
from tests.makers import DISPREFERRED, PREFERRED, ball_run_episodes, small_policy

SHIPPED = [name for name, method in methods().items() if method.learner.__module__.startswith("prefine_ray.")]
SMALL = {"steps": 4, "batch_size": 4, "bc_steps": 2, "segment": 8, "warmup_steps": 1}
SMALL_ADVANCED = {"log_every": 1, "hidden": (8, 8), "refresh_every": 2, "window_episodes": 2}


def logged(method: Method) -> set[str]:
    """The names of all metrics that a short training logs."""
    fields = method.settings.model_fields
    advanced = fields["advanced"].annotation
    assert advanced is not None
    settings = method.settings(
        **{key: value for key, value in SMALL.items() if key in fields},
        advanced=advanced(**{k: v for k, v in SMALL_ADVANCED.items() if k in advanced.model_fields}),
    )
    episodes = ball_run_episodes()
    mode = next(iter(method.modes.values()), None)
    source = None if mode is None else LocalSource(CounterfactualGenerator("BallRun", episodes, mode))
    members = [Member(1.0, PREFERRED[: len(DISPREFERRED)], DISPREFERRED, seed=0)]
    inputs = LearnerInputs(get_task("BallRun"), episodes, members, small_policy(), mode=mode, source=source)
    names: set[str] = set()
    method.learner(settings, inputs).train(settings.steps, lambda _, metrics: names.update(metrics))
    return names


def explained(name: str) -> set[str]:
    """The metrics in the table of a method's page."""
    text = (ROOT / "docs" / "methods" / f"{name}.md").read_text()
    return set(re.findall(r"^\| `(\w+)` \|", text[text.index("## Logged metrics") :], re.MULTILINE))


@pytest.mark.parametrize("name", SHIPPED)
def test_the_page_explains_every_logged_metric(name: str):
    assert explained(name) == logged(methods()[name])


@pytest.mark.parametrize("name", SHIPPED)
def test_the_page_has_its_parts(name: str):
    text = (ROOT / "docs" / "methods" / f"{name}.md").read_text()
    for part in ("| Paper |", "| File", "## Equation", "```math", "## Settings", f"#{methods()[name].section})"):
        assert part in text
    for file in re.findall(r"`(prefine_ray/[\w/]+\.py)`", text):
        assert (ROOT / file).exists()


def test_all_methods_are_in_the_overview():
    text = (ROOT / "docs" / "methods" / "index.md").read_text()
    assert set(re.findall(r"\]\((\w+)\.md\)", text)) == set(SHIPPED)
