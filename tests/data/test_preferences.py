import json
import re

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from prefine_ray.data.description import cost_histogram
from prefine_ray.data.episodes import EpisodeSummary
from prefine_ray.data.judgement_files import LabelFileError
from prefine_ray.data.labels import read_labels
from prefine_ray.data.preferences import NotEnoughTrajectoriesError, PreferenceSets, split_by_threshold


def summary_of(costs, returns=None) -> EpisodeSummary:
    costs = np.asarray(costs, dtype=np.float64)
    number = np.arange(len(costs))
    values = -number if returns is None else np.asarray(returns)
    return EpisodeSummary(number * 10, np.full(len(costs), 10), values.astype(np.float64), costs, number < 0)


def split(summary, threshold=20.0, seed=0, **options) -> PreferenceSets:
    return split_by_threshold(summary, threshold, rng=np.random.default_rng(seed), **options)


def test_default_sizes_are_100_and_20():
    sets = split(summary_of(np.arange(300)), threshold=150)
    assert (len(sets.preferred), len(sets.dispreferred)) == (100, 20)


def test_best_are_the_highest_returns_among_the_safe():
    summary = summary_of([0, 20, 20.5, 5, 9, 99], returns=[1, 5, 100, 3, 4, 200])
    sets = split(summary, preferred="best", num_preferred=2, num_dispreferred=2)
    assert sets.preferred.tolist() == [1, 4]
    assert sets.dispreferred.tolist() == [2, 5]


def test_a_margin_keeps_trajectories_near_the_threshold_out_of_both_sides():
    summary = summary_of([0, 10, 10.5, 20, 30, 99], returns=[1, 2, 9, 9, 9, 9])
    sets = split(summary, margin=0.5, num_preferred=2, num_dispreferred=2)
    assert sets.preferred.tolist() == [0, 1]
    assert sets.dispreferred.tolist() == [4, 5]
    with pytest.raises(NotEnoughTrajectoriesError, match=r"3 safe trajectories \(cost <= 0.5 \* threshold\)") as error:
        split(summary, margin=0.5, num_preferred=3, num_dispreferred=2)
    low, above = (
        float(number) for number in re.findall(r"at least ([\d.]+) and below ([\d.]+)\.", str(error.value))[0]
    )
    for threshold in (low, (low + above) / 2):
        assert len(split(summary, threshold, margin=0.5, num_preferred=3, num_dispreferred=2).preferred) == 3


def test_the_earlier_episode_wins_a_tie():
    summary = summary_of([0, 0, 0, 0, 50], returns=[1, 7, 7, 7, 7])
    assert split(summary, num_preferred=2, num_dispreferred=1).preferred.tolist() == [1, 2]


@pytest.mark.parametrize("side", ["preferred", "dispreferred"])
def test_random_draws_are_uniform(side):
    """Each of 10 trajectories is drawn 300 of 1,000 times, give or take five standard deviations."""
    summary = summary_of([0] * 10 + [50] * 10)
    rng = np.random.default_rng(1)
    counts = np.zeros(20)
    for _ in range(1000):
        sets = split_by_threshold(summary, 20, preferred="random", num_preferred=3, num_dispreferred=3, rng=rng)
        counts[getattr(sets, side)] += 1
    own, other = (counts[:10], counts[10:]) if side == "preferred" else (counts[10:], counts[:10])
    assert (np.abs(own - 300) < 5 * np.sqrt(1000 * 0.3 * 0.7)).all()
    assert (other == 0).all()


FRACTIONS = st.floats(0, 1)


@st.composite
def splits(draw, noise=FRACTIONS):
    """A data set with the arguments of a split of it."""
    costs = np.array(draw(st.lists(st.integers(0, 60), min_size=2, max_size=60)), dtype=np.float64)
    threshold = draw(st.floats(0, 60))
    safe = int((costs <= threshold).sum())
    assume(0 < safe < len(costs))
    options = {
        "preferred": draw(st.sampled_from(["best", "random"])),
        "num_preferred": draw(st.integers(1, safe)),
        "num_dispreferred": draw(st.integers(1, len(costs) - safe)),
        "label_noise": draw(noise),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }
    returns = draw(st.permutations(range(len(costs))))
    return summary_of(costs, returns), threshold, options


def wrong_labels(noise, size):
    return int(np.floor(noise * size + 0.5))


@given(splits())
def test_sizes_noise_and_disjointness(case):
    summary, threshold, options = case
    sizes = {"preferred": options["num_preferred"], "dispreferred": options["num_dispreferred"]}
    wrong = {side: wrong_labels(options["label_noise"], size) for side, size in sizes.items()}
    safe = summary.costs <= threshold
    short_of_safe = sizes["preferred"] - wrong["preferred"] + wrong["dispreferred"] > safe.sum()
    short_of_unsafe = sizes["dispreferred"] - wrong["dispreferred"] + wrong["preferred"] > (~safe).sum()
    if short_of_safe or short_of_unsafe:
        with pytest.raises(NotEnoughTrajectoriesError):
            split(summary, threshold, **options)
        return
    sets = split(summary, threshold, **options)
    assert len(sets.preferred) == sizes["preferred"]
    assert len(sets.dispreferred) == sizes["dispreferred"]
    assert len({*sets.preferred, *sets.dispreferred}) == sum(sizes.values())
    assert (np.diff(sets.preferred) > 0).all()
    assert (np.diff(sets.dispreferred) > 0).all()
    assert (~safe[sets.preferred]).sum() == wrong["preferred"]
    assert safe[sets.dispreferred].sum() == wrong["dispreferred"]


@given(splits(noise=st.just(0.0)), FRACTIONS)
def test_noise_leaves_the_other_labels_as_they_were(case, noise):
    summary, threshold, options = case
    clean = split(summary, threshold, **options)
    try:
        noisy = split(summary, threshold, **(options | {"label_noise": noise}))
    except NotEnoughTrajectoriesError:
        return
    safe = summary.costs <= threshold
    assert set(noisy.preferred[safe[noisy.preferred]]) <= set(clean.preferred)
    assert set(noisy.dispreferred[~safe[noisy.dispreferred]]) <= set(clean.dispreferred)


@given(splits(noise=st.sampled_from([0.0, 0.25])))
def test_the_generator_alone_decides(case):
    summary, threshold, options = case
    try:
        first = split(summary, threshold, **options)
    except NotEnoughTrajectoriesError:
        return
    np.random.default_rng(5).random(3)  # another generator has no say
    second = split(summary, threshold, **options)
    assert first.preferred.tolist() == second.preferred.tolist()
    assert first.dispreferred.tolist() == second.dispreferred.tolist()


def test_other_generators_give_other_splits():
    summary = summary_of([0] * 50 + [50] * 50)
    drawn = {tuple(split(summary, seed=seed, num_preferred=5, num_dispreferred=5).dispreferred) for seed in range(10)}
    assert len(drawn) == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preferred": "bst"}, "'best' or 'random', not 'bst'"),
        ({"num_dispreferred": 0}, "at least 1"),
        ({"label_noise": 1.5}, "from 0 to 1, not 1.5"),
        ({"label_noise": float("nan")}, "from 0 to 1, not nan"),
    ],
)
def test_senseless_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        split(summary_of(np.arange(300)), **options)


def test_too_few_trajectories_prints_counts_costs_and_thresholds_that_work():
    summary = summary_of(np.arange(100))  # costs 0 to 99
    with pytest.raises(NotEnoughTrajectoriesError) as caught:
        split(summary, threshold=10, num_preferred=30, num_dispreferred=20)
    message = str(caught.value)
    assert "threshold 10: 30 safe trajectories (cost <= threshold) and 20 unsafe ones are needed" in message
    assert "the data has 11 and 89" in message
    assert "Thresholds that work: at least 29 and below 80." in message
    assert cost_histogram(summary.costs) in message


@given(splits())
def test_the_thresholds_named_are_those_that_work(case):
    summary, _, options = case
    needs = {"num_preferred": options["num_preferred"] + 5, "num_dispreferred": options["num_dispreferred"] + 5}
    options |= needs
    works, message = set(), ""
    for threshold in range(61):  # costs are whole numbers
        try:
            split(summary, threshold, **options)
            works.add(threshold)
        except NotEnoughTrajectoriesError as error:
            message = str(error)
    if found := re.search(r"Thresholds that work: at least (\d+) and below (\d+)\.", message):
        assert works == set(range(int(found[1]), int(found[2])))
    else:
        assert "No threshold works" in message
        assert works == set()


# --- labels

SIDES = {"preferred": True, "dispreferred": False}


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "trajectory,label\n7,preferred\n0,dispreferred\n3,preferred\n"),
        ("b.csv", "\ufeffnote,label,trajectory\r\nok, 1,7\r\n,0,0\r\n\r\n,Preferred ,3\r\n"),
        ("c.JSON", {"dispreferred": [0], "preferred": [7, 3]}),
    ],
)
def test_labels_are_read(tmp_path, name, content):
    sets = read_labels(write(tmp_path, name, content), num_episodes=8)
    assert sets.preferred.tolist() == [3, 7]
    assert sets.dispreferred.tolist() == [0]
    assert sets.preferred.dtype == np.int64


@given(labels=st.dictionaries(st.integers(0, 99), st.booleans(), min_size=2))
def test_both_forms_say_the_same(tmp_path_factory, labels):
    assume(len(set(labels.values())) == 2)
    folder = tmp_path_factory.mktemp("labels")
    sides = {
        side: [n for n, up in labels.items() if up == (side == "preferred")] for side in ("preferred", "dispreferred")
    }
    lines = ["trajectory,label", *(f"{number},{int(up)}" for number, up in labels.items())]
    from_csv = read_labels(write(folder, "x.csv", "\n".join(lines)), 100)
    from_json = read_labels(write(folder, "x.json", sides), 100)
    for side, numbers in sides.items():
        assert getattr(from_csv, side).tolist() == getattr(from_json, side).tolist() == sorted(numbers)


HEAD = "trajectory,label\n1,preferred\n2,dispreferred\n"
BAD_LABELS = {
    "columns": ("x.csv", "id,label\n1,1\n", "line 1: the columns must be trajectory,label, not id,label"),
    "empty": ("x.csv", "", "line 1: the columns must be trajectory,label, not nothing"),
    "unknown label": ("x.csv", HEAD + "3,good\n", "line 4: label 'good'; it must be one of preferred, 1"),
    "no label": ("x.csv", HEAD + "3\n", "line 4: label ''"),
    "not a number": ("x.csv", HEAD + "3.5,1\n", "line 4: trajectory '3.5'; a whole number from 0"),
    "negative": ("x.csv", HEAD + "-1,1\n", "line 4: trajectory '-1'; a whole number from 0"),
    "out of range": ("x.csv", HEAD + "8,1\n", "line 4: trajectory 8; the data has trajectories 0 to 7"),
    "duplicate": ("x.csv", HEAD + "1,1\n", "line 4: trajectory 1 has a label already, preferred in line 2"),
    "both sides": ("x.csv", HEAD + "1,0\n", "line 4: trajectory 1 has a label already, preferred in line 2"),
    "one side": ("x.csv", "trajectory,label\n1,1\n", "no dispreferred trajectory; at least one"),
    "ending": ("x.txt", HEAD, "read from .csv or .json files"),
    "not json": ("x.json", "{\n'preferred': [1]}", "line 2: not JSON"),
    "json list": ("x.json", [1, 2], 'found list; {"preferred": [numbers]'),
    "json keys": ("x.json", {"preferred": [1], "bad": [2]}, "found the keys 'preferred', 'bad'"),
    "json no list": ("x.json", {"preferred": 1, "dispreferred": [2]}, "key 'preferred': a list of"),
    "json bool": ("x.json", {"preferred": [1, True], "dispreferred": [2]}, "key 'preferred', entry 1: True; a whole"),
    "json range": ("x.json", {"preferred": [1, 8], "dispreferred": [2]}, "key 'preferred', entry 1: trajectory 8"),
    "json negative": ("x.json", {"preferred": [-1], "dispreferred": [2]}, "entry 0: trajectory -1; the data has"),
    "json both": (
        "x.json",
        {"preferred": [1], "dispreferred": [2, 1]},
        "key 'dispreferred', entry 1: trajectory 1 has a label already, preferred in key 'preferred', entry 0",
    ),
    "json empty side": ("x.json", {"preferred": [], "dispreferred": [2]}, "no preferred trajectory"),
}


@pytest.mark.parametrize("case", BAD_LABELS)
def test_bad_labels_are_refused_with_what_and_where(tmp_path, case):
    name, content, message = BAD_LABELS[case]
    path = write(tmp_path, name, content)
    with pytest.raises(LabelFileError, match=re.escape(message)) as caught:
        read_labels(path, num_episodes=8)
    assert str(caught.value).startswith(f"{path}: ")


def test_files_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    for name, problem in (("x.csv", "cannot be read as text"), ("missing.json", "there is no such file")):
        with pytest.raises(LabelFileError, match=f"{name}: {problem}"):
            read_labels(tmp_path / name, num_episodes=8)


def test_a_quoted_line_break_does_not_shift_the_line_numbers(tmp_path):
    path = write(tmp_path, "x.csv", 'trajectory,label,note\n1,1,"two\nlines"\n2,7,\n')
    with pytest.raises(LabelFileError, match="line 4: label '7'"):
        read_labels(path, num_episodes=8)
