from __future__ import annotations

import numpy as np
import pytest

from prefine_ray.data.judgement_files import LabelFileError
from prefine_ray.data.labels import read_labels
from prefine_ray.data.pairs import Pairs, bradley_terry, crossed, is_pair_file, read_pairs, sets_of_pairs
from prefine_ray.data.preferences import PreferenceSets


def pairs_of(*better_worse: tuple[int, int], ties: tuple[int, ...] = ()) -> Pairs:
    better, worse = (np.array(side, dtype=np.int64) for side in zip(*better_worse, strict=True))
    tie = np.isin(np.arange(len(better)), ties)
    return Pairs(better, worse, tie, ("",) * len(better))


def scores_of(pairs: Pairs) -> dict[int, float]:
    return dict(zip(pairs.compared.tolist(), bradley_terry(pairs).tolist(), strict=True))


def test_a_file_of_pairs_is_read(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text('better,worse,tie,rater,time\n3,1,0,"Ann, the first",t\n1,2,1,Bob,t\n2,3,,,\n')
    pairs = read_pairs(path, 4)
    assert (pairs.better.tolist(), pairs.worse.tolist()) == ([3, 1, 2], [1, 2, 3])
    assert pairs.tie.tolist() == [False, True, False]
    assert pairs.raters == ("Ann, the first", "Bob", "")
    assert len(pairs.decided()) == 2
    assert pairs.among(np.array([1, 2])).raters == ("Bob",)
    assert is_pair_file(path)
    (tmp_path / "plain.csv").write_text("worse,better\n0,1\n")
    assert read_pairs(tmp_path / "plain.csv", 2).better.tolist() == [1]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("better\n1\n", "line 1: the columns must be better,worse, not better"),
        ("better,worse\n1,1\n", "line 2: trajectory 1 is compared with itself"),
        ("better,worse\n1,9\n", "line 2: trajectory 9; the data has trajectories 0 to 3"),
        ("better,worse\n1,-2\n", "line 2: trajectory '-2'; a whole number"),
        ("better,worse\n1,\n", "line 2: trajectory ''"),
        ("better,worse,tie\n1,2,yes\n", "line 2: tie 'yes'"),
        ("better,worse\n1,2,3\n", "line 2: has more fields"),
    ],
)
def test_another_file_is_refused_by_line(tmp_path, text, problem):
    path = tmp_path / "pairs.csv"
    path.write_text(text)
    with pytest.raises(LabelFileError, match=problem) as found:
        read_pairs(path, 4)
    assert str(found.value).startswith(str(path))


def test_scores_of_two_are_those_of_the_equation():
    """Three wins and one loss: 3 s(-x) - s(x) = prior x / 2 for a gap of x, s the sigmoid."""
    scores = scores_of(pairs_of((0, 1), (0, 1), (0, 1), (1, 0)))
    gap = scores[0] - scores[1]
    sigmoid = 1 / (1 + np.exp(-gap))
    assert 3 * (1 - sigmoid) - sigmoid == pytest.approx(0.1 * gap / 2, abs=1e-6)
    assert scores[0] == pytest.approx(-scores[1])


def test_scores_recover_an_order_from_noisy_answers():
    rng, worth = np.random.default_rng(0), np.linspace(-3, 3, 15)
    first, second = rng.integers(15, size=(2, 3000))
    first, second = first[first != second], second[first != second]
    wins = rng.random(len(first)) < 1 / (1 + np.exp(worth[second] - worth[first]))
    better, worse = np.where(wins, first, second), np.where(wins, second, first)
    found = bradley_terry(Pairs(better, worse, np.zeros(len(better), bool), ("",) * len(better)))
    np.testing.assert_allclose(found, worth, atol=0.5)
    assert (np.argsort(found) == np.arange(15)).mean() > 0.7


def test_ties_cycles_and_contradictions_have_an_answer():
    assert scores_of(pairs_of((0, 1), (1, 0))) == pytest.approx({0: 0, 1: 0}, abs=1e-6)
    assert scores_of(pairs_of((0, 1), (1, 2), (2, 0))) == pytest.approx({0: 0, 1: 0, 2: 0}, abs=1e-6)
    scores = scores_of(pairs_of((0, 1), (2, 3), (0, 2), ties=(1,)))
    assert scores[0] > scores[2]
    assert scores[1] < scores[2]
    assert np.isfinite(list(scores.values())).all()
    always = scores_of(pairs_of(*[(0, 1)] * 500))
    assert 5 < always[0] - always[1] < 50  # one that always wins has no infinite score
    separate = scores_of(pairs_of((0, 1), (8, 9)))
    assert separate[0] == pytest.approx(separate[8])


def test_sides_are_the_best_and_the_worst():
    pairs = pairs_of(*[(low, high) for low in range(9) for high in range(low + 1, 9)])
    sets = sets_of_pairs(pairs)
    assert (sets.preferred.tolist(), sets.dispreferred.tolist()) == ([0, 1, 2], [6, 7, 8])
    sets = sets_of_pairs(pairs, num_preferred=5, num_dispreferred=1)
    assert (sets.preferred.tolist(), sets.dispreferred.tolist()) == ([0, 1, 2, 3, 4], [8])
    assert sets_of_pairs(pairs_of((4, 2))).preferred.tolist() == [4]
    with pytest.raises(LabelFileError, match="9 trajectories were compared, too few for 8 preferred and 3"):
        sets_of_pairs(pairs, num_preferred=8)
    with pytest.raises(LabelFileError, match="no pair of which one is better"):
        sets_of_pairs(pairs_of((0, 1), ties=(0,)))


def test_a_file_of_pairs_stands_for_labels(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("better,worse\n0,2\n0,1\n1,2\n")
    sets = read_labels(path, 3)
    assert (sets.preferred.tolist(), sets.dispreferred.tolist()) == ([0], [2])
    path.write_text("better,worse,tie\n0,2,1\n")
    with pytest.raises(LabelFileError, match=r"pairs\.csv: no pair"):
        read_labels(path, 3)


def test_of_sides_each_preferred_one_is_better_than_each_other():
    pairs = crossed(PreferenceSets(np.array([4, 7]), np.array([1, 2, 3])))
    assert sorted(zip(pairs.preferred.tolist(), pairs.dispreferred.tolist(), strict=True)) == [
        (good, bad) for good in (4, 7) for bad in (1, 2, 3)
    ]
