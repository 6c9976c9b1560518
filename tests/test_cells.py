from dataclasses import replace

import pytest

from prefine_ray.cells import TaskInputs, base_cells, make_cells, make_packs
from prefine_ray.config import SweepConfig

INPUTS = {task: TaskInputs("data", "d1", "base", "b1") for task in ("BallRun", "CarRun")}


def config(**changes) -> SweepConfig:
    return SweepConfig(**{"name": "a", "tasks": ["BallRun"], "weights": [1], "seeds": [0, 1], **changes})


def names(of: SweepConfig | None = None, **inputs) -> set[str]:
    return {cell.name for cell in make_cells(of or config(), {t: replace(i, **inputs) for t, i in INPUTS.items()})}


@pytest.mark.parametrize(
    "changes",
    [
        {"finetune": {"steps": 77}},
        {"finetune": {"beta": 0.3}},
        {"finetune": {"refresh_every": 25}},
        {"seed": 1},
        {"seeds": [5, 6]},
        {"evaluation": {"episodes": 3}},
        {"preferences": {"num_preferred": 9}},
        {"thresholds": [11]},
        {"tasks": ["CarRun"]},
        {"preferred": ["random"]},
    ],
)
def test_names_change_with_what_determines_results(changes):
    assert not names() & names(config(**changes))


def test_names_change_with_the_content_of_the_inputs_not_with_their_place():
    assert not names() & names(data_digest="d2")
    assert not names() & names(base_digest="b2")
    assert names() == names(data_path="elsewhere", base_path="elsewhere")


@pytest.mark.parametrize(
    "changes",
    [
        {"finetune": {"log_every": 3, "checkpoint_every": 50}},
        {"name": "other"},
        {"resources": {"rollout_actors": 1}},
        {"thresholds": [20]},  # the middle one of BallRun, by its number
    ],
)
def test_names_stay_where_results_do(changes):
    assert names() == names(config(**changes))


def test_a_grown_grid_packs_new_cells_only():
    old = make_cells(config(), INPUTS)
    grown = make_cells(config(tasks=["BallRun", "CarRun"], weights=[1, 5], seeds=3), INPUTS)
    assert len({cell.name for cell in grown}) == len(grown) == 18
    assert {cell.name for cell in old} < {cell.name for cell in grown}
    packs = make_packs(grown, {cell.name for cell in old})
    assert [(pack.task, len(pack.cells)) for pack in packs] == [("BallRun", 5), ("CarRun", 9)]
    assert make_packs(old, {cell.name for cell in old}) == []


def test_a_pack_holds_one_task_preferred_set_and_threshold():
    cells = make_cells(config(tasks=["BallRun", "CarRun"], thresholds="all", preferred=["best", "random"]), INPUTS)
    packs = make_packs(cells, set())
    assert len(packs) == 12
    for pack in packs:
        assert len({(cell.task, cell.preferred, cell.threshold) for cell in pack.cells}) == 1
        assert [(cell.weight, cell.seed) for cell in pack.cells] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_base_cells_depend_on_policy_and_episodes_but_not_on_the_training():
    base = base_cells(config(), INPUTS)
    assert [(cell.method, cell.seed) for cell in base] == [("base", 0), ("base", 1)]
    same = base_cells(config(finetune={"steps": 3}, thresholds="all"), INPUTS)
    assert [cell.name for cell in same] == [cell.name for cell in base]
    for other in (config(evaluation={"episodes": 2}), config(seed=4)):
        assert not {cell.name for cell in base_cells(other, INPUTS)} & {cell.name for cell in base}
