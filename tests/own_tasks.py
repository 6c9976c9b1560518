"""Own tasks of tests, which do not stay in the table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefine_ray.tasks.registration import register_task
from prefine_ray.tasks.spec import TASKS, Task
from tests.toy.toy_envs import DEFINITION

TOY = Path(__file__).with_name("toy")


@contextmanager
def table_restored() -> Iterator[None]:
    """What is registered within is forgotten after it."""
    before = dict(TASKS)
    try:
        yield
    finally:
        TASKS.clear()
        TASKS.update(before)


def toy_task(name: str = "Toy", **changes: Any) -> Task:
    """Registers a task of `tests/toy/toy_envs.py`; `env` may be the name of a class in it."""
    content = {**DEFINITION, "folder": str(TOY), **changes}
    if content["env"].isidentifier() and content["env"] != "none":
        content["env"] = f"toy_envs:{content['env']}"
    return register_task(name, **content)
