"""Packs and configurations, whatever the grid."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from prefine_ray.experiment.cells import Cell, make_packs
from prefine_ray.experiment.config import dump_config, make_config, parse_assignments, parse_config
from prefine_ray.tasks.spec import TASKS

METHODS = ("prefine", "sft", "bc_all", "bc_safe", "cpl", "trac")
finite = st.floats(0, 1e6, allow_nan=False)


@st.composite
def cells(draw: st.DrawFn) -> list[Cell]:
    """Cells of different tasks and methods, each with a name of its own."""
    kinds = draw(st.lists(st.tuples(st.sampled_from(METHODS), st.sampled_from(["BallRun", "CarRun"])), max_size=30))
    return [
        Cell(f"cell{number}", method, task, seed=number, experiment_seed=0, episodes=1)
        for number, (method, task) in enumerate(kinds)
    ]


@given(cells(), st.sets(st.integers(0, 29)), st.none() | st.integers(1, 5))
def test_packs_hold_every_unfinished_cell_once(grid: list[Cell], done: set[int], most: int | None):
    finished = {f"cell{number}" for number in done}
    packs = make_packs(grid, finished, most)
    packed = Counter(cell.name for pack in packs for cell in pack.cells)
    assert packed == Counter(cell.name for cell in grid if cell.name not in finished)
    assert len({pack.name for pack in packs}) == len(packs)
    for pack in packs:
        assert 1 <= len(pack.cells) <= (most or len(grid))
        assert {cell.task for cell in pack.cells} == {pack.task}
        names = [cell.name for cell in pack.cells]
        assert names == sorted(names, key=lambda name: int(name.removeprefix("cell")))  # the grid's order


@given(cells(), st.integers(1, 5))
def test_a_cells_pack_does_not_depend_on_what_other_tasks_have_finished(grid: list[Cell], most: int):
    whole = [pack for pack in make_packs(grid, set(), most) if pack.task == "BallRun"]
    others = {cell.name for cell in grid if cell.task != "BallRun"}
    assert make_packs(grid, others, most) == whole


configs = st.fixed_dictionaries(
    {"name": st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,40}", fullmatch=True)},
    optional={
        "seed": st.integers(0, 2**31),
        "tasks": st.just("benchmark") | st.lists(st.sampled_from(list(TASKS)), min_size=1),
        "thresholds": st.sampled_from(["middle", "all"]) | st.lists(finite, min_size=1, max_size=3),
        "methods": st.lists(st.sampled_from(METHODS), min_size=1),
        "weights": st.lists(finite, min_size=1, max_size=4),
        "seeds": st.integers(1, 5) | st.lists(st.integers(0, 99), min_size=1),
        "tuning_seeds": st.integers(0, 3),
        "preferences": st.fixed_dictionaries({"num_preferred": st.integers(1, 200)}),
        "finetune": st.fixed_dictionaries({"steps": st.integers(1, 10_000), "beta": st.floats(1e-3, 10)}),
        "task_settings": st.dictionaries(
            st.sampled_from(["BallRun", "CarRun"]), st.just({"finetune": {"beta": 0.5}, "thresholds": [5.0]})
        ),
    },
)


@settings(deadline=None, max_examples=20)
@given(configs)
def test_a_configuration_is_read_back_as_it_was_written(content: dict[str, Any]):
    config = make_config(**content)
    assert parse_config(dump_config(config), "written.yaml") == config


@given(st.integers(1, 10_000), finite)
def test_assignments_replace_values_of_the_file(steps: int, weight: float):
    overrides = parse_assignments([f"finetune.steps={steps}", f"weights=[{weight!r}]"])
    config = parse_config("name: a\nfinetune: {beta: 0.3}\n", "a.yaml", overrides)
    finetune = config.settings("prefine")
    assert (finetune.steps, finetune.beta) == (steps, 0.3)
    assert config.axis_values("weight", "BallRun") == tuple(sorted({0.0, weight}))
