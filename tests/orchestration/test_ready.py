"""Tasks that become ready in a thread, and the packs that Tune is given meanwhile."""

from __future__ import annotations

import threading
import time

import pytest
from ray.tune.search import Searcher

from prefine_ray.core.errors import PrefineError
from prefine_ray.experiment.cells import Pack, count_cells, make_cells, make_packs
from prefine_ray.experiment.config import make_config
from prefine_ray.experiment.replicates import shared_inputs
from prefine_ray.orchestration.sweep.packs import ReadyPacks
from prefine_ray.orchestration.sweep.ready import ReadyTasks
from prefine_ray.tasks.spec import get_task

TASKS = ("BallRun", "CarRun")
INPUTS = {task: shared_inputs("data", "d", "base", "b") for task in TASKS}
CONFIG = make_config(name="a", tasks=TASKS, weights=(0, 5), seeds=3, tuning_seeds=2)


def packs() -> list[Pack]:
    return make_packs(make_cells(CONFIG, INPUTS), set())


def make_ready(*errors: tuple[str, Exception]):
    found = dict(errors)

    def make(task: str) -> None:
        if task in found:
            raise found[task]

    return make


def drained(ready: ReadyTasks) -> list[str]:
    while ready.wait(len(ready.names)):
        pass
    return ready.names


def test_tasks_become_ready_in_their_order():
    with ReadyTasks(["a", "b", "c"], make_ready(), threading.Event()) as ready:
        assert ready.wait(0)
        assert drained(ready) == ["a", "b", "c"]
        assert ready.wait(2)
        assert not ready.wait(3)
    ready.raise_error()


def test_a_task_that_cannot_be_used_stops_no_other_and_is_told_at_the_end():
    with ReadyTasks(["a", "b"], make_ready(("a", PrefineError("too few"))), threading.Event()) as ready:
        assert drained(ready) == ["b"]
    with pytest.raises(PrefineError, match="too few"):
        ready.raise_error()


def test_what_every_task_would_meet_ends_them_all():
    with ReadyTasks(["a", "b"], make_ready(("a", OSError("disk full"))), threading.Event()) as ready:
        assert drained(ready) == []
    with pytest.raises(OSError, match="disk full"):
        ready.raise_error()


def test_leaving_stops_what_is_in_work_without_an_error():
    stopped, begun = threading.Event(), threading.Event()

    def wait_for_the_end(task: str) -> None:
        begun.set()
        if not stopped.wait(20):
            return
        raise RuntimeError("stopped")

    started = time.monotonic()
    with ReadyTasks(["a", "b"], wait_for_the_end, stopped) as ready:
        assert begun.wait(20)
    assert time.monotonic() - started < 20
    assert (ready.names, ready.errors) == ([], [])


def test_packs_are_handed_out_as_tasks_become_ready_until_none_is_left():
    first, second = packs()
    given = [[first], [], [second], []]
    feed = ReadyPacks(lambda: given.pop(0) if given else [], INPUTS)
    assert feed.suggest("1") == {"pack": first, "inputs": INPUTS[first.task]}
    assert feed.suggest("2") is None  # the first one is in work, and more may become ready
    assert feed.suggest("2") == {"pack": second, "inputs": INPUTS[second.task]}
    feed.on_trial_complete("2")
    assert feed.suggest("3") is None
    assert not feed.drained
    feed.on_trial_complete("1", error=True)
    assert feed.drained
    assert feed.suggest("3") == Searcher.FINISHED


def test_the_grid_is_counted_before_any_task_has_inputs():
    bases = len(CONFIG.seeds) * sum(get_task(task).has_environment for task in TASKS)
    assert count_cells(CONFIG) == len(make_cells(CONFIG, INPUTS)) + bases == 26


def test_only_tasks_with_inputs_have_cells():
    some = {"CarRun": INPUTS["CarRun"]}
    assert {cell.task for cell in make_cells(CONFIG, some)} == {"CarRun"}
