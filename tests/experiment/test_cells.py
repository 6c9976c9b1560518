import math
from dataclasses import replace

import pytest

from prefine_ray.experiment.cells import (
    base_cells,
    grid_points,
    identity_columns,
    make_cells,
    make_packs,
)
from prefine_ray.experiment.config import SweepConfig, make_config
from prefine_ray.experiment.replicates import shared_inputs
from prefine_ray.methods.registry import get_method

INPUTS = {task: shared_inputs("data", "d1", "base", "b1") for task in ("BallRun", "CarRun")}


def config(**changes) -> SweepConfig:
    return make_config(**{"name": "a", "tasks": ["BallRun"], "weights": [1], "seeds": [0, 1], **changes})


def names(of: SweepConfig | None = None, **inputs) -> set[str]:
    changed = {task: replace(known, common=replace(known.common, **inputs)) for task, known in INPUTS.items()}
    return {cell.name for cell in make_cells(of or config(), changed)}


@pytest.mark.parametrize(
    "changes",
    [
        {"finetune": {"steps": 77}},
        {"finetune": {"beta": 0.3}},
        {"finetune": {"advanced": {"refresh_every": 25}}},
        {"seed": 1},
        {"seeds": [5, 6]},
        {"evaluation": {"episodes": 3}},
        {"preferences": {"num_preferred": 9}},
        {"preferences": {"label_noise": 0.5}},
        {"thresholds": [11]},
        {"tasks": ["CarRun"]},
        {"preferred": ["random"]},
        {"selection": "likely"},
        {"selection": {"rule": "likely", "share": 0.3}},
        {"counterfactuals": "actors"},
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
        {"finetune": {"advanced": {"log_every": 3, "checkpoint_every": 50}}},
        {"name": "other"},
        {"resources": {"rollout_actors": 1}},
        {"evaluation": {"conditions": ["reused", "noise1"]}},
        {"thresholds": [20]},  # the middle one of BallRun, by its number
    ],
)
def test_names_stay_where_results_do(changes):
    assert names() == names(config(**changes))


def test_cells_know_the_conditions_that_they_may_be_evaluated_under():
    asked = config(evaluation={"conditions": ["noise1", "reused", "noise1"]})
    for cell in [*make_cells(asked, INPUTS), *base_cells(asked, INPUTS)]:
        assert cell.conditions == ("noise1", "reused")


def test_task_settings_make_the_cells_of_their_task_alone_others():
    def of(task, config):
        return {cell.name for cell in make_cells(config, INPUTS) if cell.task == task}

    plain = config(tasks=["BallRun", "CarRun"])
    own = config(tasks=["BallRun", "CarRun"], task_settings={"CarRun": {"preferences": {"margin": 0.5}}})
    assert of("BallRun", own) == of("BallRun", plain)
    assert of("CarRun", own) == of("CarRun", config(tasks=["CarRun"], preferences={"margin": 0.5}))
    assert not of("CarRun", own) & of("CarRun", plain)


def test_a_grown_grid_packs_new_cells_only():
    old = make_cells(config(), INPUTS)
    grown = make_cells(config(tasks=["BallRun", "CarRun"], weights=[1, 5], seeds=3), INPUTS)
    assert len({cell.name for cell in grown}) == len(grown) == 18
    assert {cell.name for cell in old} < {cell.name for cell in grown}
    packs = make_packs(grown, {cell.name for cell in old})
    assert [(pack.task, len(pack.cells)) for pack in packs] == [("BallRun", 5), ("CarRun", 9)]
    assert make_packs(old, {cell.name for cell in old}) == []


def test_tuning_seeds_are_cells_of_their_own_that_train_with_the_reported_ones():
    reported = make_cells(config(), INPUTS)
    cells = make_cells(config(tuning_seeds=2), INPUTS)
    tuning = [cell for cell in cells if cell.split == "tuning"]
    assert [cell for cell in cells if cell.split == "test"] == reported
    assert [(cell.axes["weight"], cell.seed) for cell in tuning] == [(0, 1000), (0, 1001), (1, 1000), (1, 1001)]
    assert len(make_packs(cells, set())) == 1
    assert {cell.seed for cell in base_cells(config(tuning_seeds=2), INPUTS)} == {0, 1}
    as_reported = make_cells(config(seeds=[1000, 1001]), INPUTS)
    assert {cell.name for cell in tuning} == {cell.name for cell in as_reported}  # the split changes no result


def test_a_pack_holds_all_cells_of_one_task_and_learner():
    cells = make_cells(config(tasks=["BallRun", "CarRun"], thresholds="all", preferred=["best", "random"]), INPUTS)
    packs = make_packs(cells, set())
    assert [pack.task for pack in packs] == ["BallRun", "CarRun"]
    for pack in packs:
        assert list(pack.cells) == [cell for cell in cells if cell.task == pack.task]
        assert len({(cell.axes["preferred"], cell.axes["threshold"]) for cell in pack.cells}) == 6
        assert pack.label == f"prefine {pack.task} best/random threshold 10/20/40"


def test_base_cells_depend_on_policy_and_episodes_but_not_on_the_training():
    base = base_cells(config(), INPUTS)
    assert [(cell.method, cell.seed) for cell in base] == [("base", 0), ("base", 1)]
    same = base_cells(config(finetune={"steps": 3}, thresholds="all"), INPUTS)
    assert [cell.name for cell in same] == [cell.name for cell in base]
    for other in (config(evaluation={"episodes": 2}), config(seed=4)):
        assert not {cell.name for cell in base_cells(other, INPUTS)} & {cell.name for cell in base}


def test_cells_have_the_axes_that_their_method_depends_on():
    of = config(
        methods=["prefine", "sft", "bc_all", "bc_safe", "cpl", "trac"],
        thresholds="all",
        preferred=["best", "random"],
        preferences={"num_preferred": [5, 20], "label_noise": [0, 0.2, 0.5]},
        seeds=1,
    )
    cells = make_cells(of, INPUTS)
    counts = {method: sum(cell.method == method for cell in cells) for method in of.methods}
    # kinds x sizes x noises x thresholds x weights
    assert counts == {"prefine": 2 * 2 * 3 * 3 * 2, "sft": 36, "bc_all": 1, "bc_safe": 3, "cpl": 36, "trac": 36}
    assert len({cell.name for cell in cells}) == len(cells) == sum(1 for _ in grid_points(of, "BallRun"))
    for cell in cells:
        assert tuple(cell.identity) == identity_columns()
        assert tuple(cell.axes) == tuple(name for name in identity_columns() if name in get_method(cell.method).axes)
        assert math.isnan(cell.identity["weight"]) == (cell.method != "prefine")
        assert math.isnan(cell.identity["threshold"]) == (cell.method == "bc_all")
        assert (cell.identity["num_preferred"] == 0) == cell.method.startswith("bc")
    packs = make_packs(cells, set())
    together = [{cell.method for cell in pack.cells} for pack in packs]
    assert together == [{"prefine", "sft"}, {"bc_all", "bc_safe"}, {"cpl"}, {"trac"}]
    assert packs[1].label == "bc_all/bc_safe BallRun threshold 10/20/40"


@pytest.mark.parametrize(
    ("method", "changing", "keeping"),
    [
        ("prefine", {"finetune": {"steps": 7}}, {"trac": {"steps": 77_000}}),
        ("sft", {"finetune": {"steps": 7}}, {"weights": [1, 2]}),
        ("bc_all", {"bc": {"steps": 7}}, {"preferences": {"num_preferred": 9}}),
        ("bc_safe", {"thresholds": [11]}, {"finetune": {"beta": 0.3}}),
        ("cpl", {"cpl": {"advanced": {"alpha": 0.3}}}, {"bc": {"steps": 7}}),
        ("trac", {"preferences": {"num_dispreferred": 9}}, {"weights": [1, 2]}),
    ],
)
def test_names_depend_on_the_settings_of_the_own_method_only(method, changing, keeping):
    own = {"methods": [method]}
    assert not names(config(**own)) & names(config(**own, **changing))
    assert names(config(**own)) <= names(config(**own, **keeping))


def test_only_fine_tuning_depends_on_the_base_policy():
    for method in ("prefine", "sft", "bc_all", "bc_safe", "cpl", "trac"):
        of = config(methods=[method])
        assert (names(of) == names(of, base_digest="b2")) == (method not in ("prefine", "sft"))


def test_one_number_and_a_list_of_one_name_the_same_cells():
    assert names(config(preferences={"num_preferred": 9})) == names(config(preferences={"num_preferred": [9]}))
    grown = names(config(preferences={"num_preferred": [9, 20]}))
    assert names(config(preferences={"num_preferred": 9})) < grown


def test_a_limit_splits_packs_and_keeps_every_cell_once():
    cells = make_cells(config(weights=[1, 5], seeds=3), INPUTS)
    packs = make_packs(cells, set(), most=4)
    assert [len(pack.cells) for pack in packs] == [4, 4, 1]
    assert [cell for pack in packs for cell in pack.cells] == cells
    assert len({pack.name for pack in packs}) == 3


def test_what_one_population_cannot_share_splits_packs():
    of = config(methods=["prefine", "sft"], counterfactuals=["learner", "actors"], selection=["none", "likely"])
    packs = make_packs(make_cells(of, INPUTS), set())
    found = [({cell.method for cell in pack.cells}, pack.shared["counterfactuals"]) for pack in packs]
    assert found == [({"prefine", "sft"}, "learner"), ({"prefine"}, "actors")]
    assert {str(cell.axes["selection"]) for cell in packs[1].cells} == {"none", "likely 0.5"}


def test_labels_that_people_gave_have_no_number_and_no_noise():
    sizes = {"num_preferred": [5, 20], "label_noise": [0, 0.2], "labels": __file__}
    shared = {"draws": "shared"}
    cells = make_cells(config(preferred=["best", "labels"], preferences=sizes, seeds=1, data=shared), INPUTS)
    given = [cell.identity for cell in cells if cell.axes["preferred"] == "labels"]
    assert [(row["num_preferred"], row["label_noise"], row["weight"]) for row in given] == [
        (0, 0.0, 0.0),
        (0, 0.0, 1.0),
    ]
    assert len(cells) == 2 * 2 * 2 + 2
