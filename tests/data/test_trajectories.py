import contextlib
import re

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from prefine_ray.data import hdf5
from prefine_ray.data.description import cost_histogram, describe, plot_reward_cost
from prefine_ray.data.episodes import EpisodeSummary
from prefine_ray.data.hdf5 import TrajectoryFileError, check_dsrl, read_attrs, read_dsrl, read_summary, write_dsrl
from prefine_ray.data.trajectories import MATRICES, STEP_DATASETS, Trajectories, concatenate
from prefine_ray.tasks.spec import get_task

TASK = get_task("BallRun")  # 7 observations, 2 actions, horizon 100


def make_trajectories(lengths, terminated=None, seed=0, labelled=True) -> Trajectories:
    """Random episodes of BallRun's sizes."""
    rng = np.random.default_rng(seed)
    steps, ends = sum(lengths), np.cumsum(lengths) - 1
    fallen = np.zeros(len(lengths), dtype=bool) if terminated is None else np.asarray(terminated)
    terminals, timeouts = np.zeros(steps, dtype=bool), np.zeros(steps, dtype=bool)
    terminals[ends], timeouts[ends] = fallen, ~fallen
    observations, next_observations = (rng.standard_normal((steps, 7), dtype=np.float32) for _ in range(2))
    inside = np.flatnonzero(~(terminals | timeouts))
    next_observations[inside] = observations[inside + 1]
    return Trajectories(
        observations=observations,
        next_observations=next_observations,
        actions=rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
        rewards=rng.standard_normal(steps, dtype=np.float32),
        costs=rng.integers(0, 2, steps).astype(np.float32),
        terminals=terminals,
        timeouts=timeouts,
        seeds=rng.integers(0, 2**40, len(lengths)) if labelled else None,
        behaviours=rng.integers(0, 5, len(lengths)) if labelled else None,
    )


def assert_equal(left: Trajectories, right: Trajectories) -> None:
    for name in (*STEP_DATASETS, "seeds", "behaviours"):
        a, b = getattr(left, name), getattr(right, name)
        assert (a is None) == (b is None)
        if a is not None:
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b, err_msg=name)


@pytest.fixture
def path(tmp_path):
    """A good file of 4 episodes, 12 steps."""
    write_dsrl(tmp_path / "data.hdf5", make_trajectories([3, 5, 1, 3], terminated=[0, 1, 0, 0]))
    return tmp_path / "data.hdf5"


def test_summary_has_boundaries_and_sums():
    data = make_trajectories([3, 5, 1], terminated=[False, True, False])
    assert len(data) == 3
    assert data.starts.tolist() == [0, 3, 8]
    assert data.lengths.tolist() == [3, 5, 1]
    assert data.summary.terminated.tolist() == [False, True, False]
    for index, (start, length) in enumerate(zip(data.starts, data.lengths, strict=True)):
        assert data.returns[index] == pytest.approx(data.rewards[start : start + length].astype(float).sum())
        assert data.episode_costs[index] == data.costs[start : start + length].sum()


def test_sums_are_taken_in_double_precision():
    steps = 100_000
    flags = np.zeros(steps, dtype=bool)
    flags[-1] = True
    rewards = np.full(steps, 0.1, dtype=np.float32)
    summary = EpisodeSummary.from_steps(rewards, rewards, np.zeros_like(flags), flags)
    assert summary.returns[0] == pytest.approx(float(np.float32(0.1)) * steps, rel=1e-12)


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=6), data=st.data())
def test_select_takes_whole_episodes_in_order(lengths, data):
    whole = make_trajectories(lengths)
    picked = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1, max_size=8))
    selected = whole.select(picked)
    assert len(selected) == len(picked)
    for name in ("lengths", "returns", "episode_costs", "seeds", "behaviours"):
        np.testing.assert_array_equal(getattr(selected, name), getattr(whole, name)[picked])
    for place, episode in enumerate(picked):
        mine = slice(selected.starts[place], selected.starts[place] + selected.lengths[place])
        theirs = slice(whole.starts[episode], whole.starts[episode] + whole.lengths[episode])
        for name in STEP_DATASETS:
            np.testing.assert_array_equal(getattr(selected, name)[mine], getattr(whole, name)[theirs])


def test_concatenate_undoes_select():
    whole = make_trajectories([2, 4, 1])
    assert_equal(concatenate([whole.select([0]), whole.select([1, 2])]), whole)


def test_concatenate_drops_seeds_that_some_part_lacks():
    joined = concatenate([make_trajectories([2]), make_trajectories([3], labelled=False)])
    assert joined.seeds is None
    assert joined.behaviours is None
    assert joined.lengths.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": np.zeros(3, np.float32)}, "rewards has shape"),
        ({"actions": np.zeros(4, np.float32)}, "actions has shape"),
        ({"timeouts": np.zeros(4, bool)}, "last step must end"),
        ({"seeds": np.zeros(2, np.int64)}, "seeds has shape"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(change, message):
    good = make_trajectories([4])
    arrays = {name: getattr(good, name) for name in (*STEP_DATASETS, "seeds")}
    with pytest.raises(ValueError, match=message):
        Trajectories(**(arrays | change))


@pytest.mark.parametrize("labelled", [True, False])
def test_round_trip(tmp_path, labelled):
    data = make_trajectories([3, 100, 7], labelled=labelled)
    attrs = {"recipe": "a1b2", "episodes": 3, "fraction": 0.5}
    write_dsrl(tmp_path / "x.hdf5", data, attrs)
    assert_equal(read_dsrl(tmp_path / "x.hdf5", "BallRun"), data)
    assert read_attrs(tmp_path / "x.hdf5") == attrs
    assert [p.name for p in tmp_path.iterdir()] == ["x.hdf5"]


def test_equal_data_gives_equal_bytes(tmp_path):
    for name in ("a.hdf5", "b.hdf5"):
        write_dsrl(tmp_path / name, make_trajectories([30, 20]), {"recipe": "x"})
    assert (tmp_path / "a.hdf5").read_bytes() == (tmp_path / "b.hdf5").read_bytes()


def test_a_failed_write_leaves_the_old_file(path):
    before = path.read_bytes()
    bad = make_trajectories([3])
    bad.rewards[1] = np.nan
    with pytest.raises(ValueError, match="rewards holds NaN"):
        write_dsrl(path, bad)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_other_dsrl_readers_find_the_flat_arrays(path):
    """What the DSRL package does: all datasets by name, the seven at the top; all are per step, as OSRL needs them."""
    names = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert file["observations"].dtype == np.float32
        assert {len(file[name]) for name in names} == {12}
        assert file["infos/seeds"].compression == "gzip"
    assert sorted(names) == sorted([*STEP_DATASETS, "infos/seeds", "infos/behaviours"])


def as_older(path):
    """Seeds and behaviours as older versions wrote them, one value per episode."""
    data = read_dsrl(path)
    with h5py.File(path, "r+") as file:
        del file["infos"]
        file["episodes/seeds"], file["episodes/behaviours"] = data.seeds, data.behaviours
        file.attrs["sha256"] = hdf5._arrays_digest(file)
    return data


def test_an_older_file_with_values_per_episode_is_read(path):
    data = as_older(path)
    check_dsrl(path, "BallRun")
    assert_equal(read_dsrl(path), data)


def test_wrong_values_per_episode_of_an_older_file_are_refused(path):
    as_older(path)
    with h5py.File(path, "r+") as file:
        replace("episodes/seeds", lambda values: values[:-1])(file)
    with pytest.raises(TrajectoryFileError, match=r"'episodes/seeds' .* integers \(4,\), one per episode"):
        read_dsrl(path)


def test_summary_of_a_file_is_that_of_its_data(path):
    summary, data = read_summary(path, "BallRun"), read_dsrl(path)
    for name in ("starts", "lengths", "returns", "costs", "terminated", "seeds", "behaviours"):
        np.testing.assert_array_equal(getattr(summary, name), getattr(data.summary, name))


@pytest.mark.parametrize("chunks", [None, (4, 7), (7, 1)])
@pytest.mark.parametrize("episodes", [[2], [0, 3], [3, 0, 0, 1]])
def test_some_episodes_are_read_alone(path, monkeypatch, chunks, episodes):
    """Whatever the file's chunks and however small the blocks that are read at a time."""
    monkeypatch.setattr(hdf5, "_BLOCK_BYTES", 60)
    with h5py.File(path, "r+") as file:
        values = file["observations"][()]
        del file["observations"]
        file.create_dataset("observations", data=values, chunks=chunks)
    assert_equal(read_dsrl(path, TASK, episodes), read_dsrl(path).select(episodes))


@pytest.mark.parametrize("episodes", [[], [4], [-1]])
def test_episodes_that_are_not_there_are_refused(path, episodes):
    with pytest.raises(IndexError, match="0 to 3"):
        read_dsrl(path, TASK, episodes)


def test_a_foreign_file_with_columns_and_other_types_is_read(path):
    """DSRL's own reader takes [T, 1] and float flags too; users' files may be float64."""
    data = read_dsrl(path)
    with h5py.File(path, "r+") as file:
        del file["infos"]
        for name in STEP_DATASETS:
            values = file[name][()].astype(np.float64)
            del file[name]
            file[name] = values if name in MATRICES else values[:, None]
    found = read_dsrl(path, "BallRun")
    assert found.seeds is None
    for name in STEP_DATASETS:
        np.testing.assert_array_equal(getattr(found, name), getattr(data, name))
        assert getattr(found, name).dtype == getattr(data, name).dtype


def replace(name, change):
    def edit(file):
        values = change(file[name][()])
        del file[name]
        file[name] = values

    return edit


def put(name, place, value):
    def change(values):
        values = values.astype(np.float64)
        values[place] = value
        return values

    return replace(name, change)


def remove(*names):
    def edit(file):
        for name in names:
            del file[name]

    return edit


def drop_rows(count):
    def edit(file):
        for name in STEP_DATASETS:
            replace(name, lambda values: values[: len(values) - count])(file)
        del file["infos"]

    return edit


BAD_FILES = {
    "missing key": (remove("costs"), r"missing dataset\(s\) costs; .*this one has actions, infos"),
    "missing keys": (remove("costs", "rewards"), r"missing dataset\(s\) rewards, costs"),
    "group for a dataset": (lambda file: (remove("costs")(file), file.create_group("costs")), "missing .* costs"),
    "other task's observations": (
        replace("observations", lambda v: v[:, :5]),
        r"'observations' has shape \(12, 5\), not \(12, 7\) as BallRun needs",
    ),
    "one matrix wider": (replace("next_observations", lambda v: np.hstack([v, v])), r"not \(12, 7\)"),
    "flat actions": (replace("actions", lambda v: v[:, 0]), r"'actions' has shape \(12,\), not \(12, 2\)"),
    "rows missing": (replace("rewards", lambda v: v[:-1]), r"'rewards' has shape \(11,\), not \(12,\)"),
    "text": (replace("rewards", lambda v: np.full(12, b"x")), "'rewards' holds .*, not numbers"),
    "scalar": (replace("observations", lambda v: np.float32(1)), "'observations' is empty"),
    "no steps": (drop_rows(12), "'observations' is empty"),
    "nan observation": (
        put("observations", (4, 6), np.nan),
        r"'observations' has nan in row 4, column 6 \(episode 1\)",
    ),
    "inf action": (put("actions", (11, 1), np.inf), r"'actions' has inf in row 11, column 1 \(episode 3\)"),
    "float32 overflow": (put("next_observations", (0, 0), 1e300), r"has inf in row 0, .*finite float32"),
    "nan reward": (put("rewards", 8, np.nan), r"'rewards' has nan in row 8 \(episode 2\)"),
    "inf cost": (put("costs", 2, -np.inf), r"'costs' has -inf in row 2 \(episode 0\)"),
    "odd flag": (put("terminals", 5, 0.5), "'terminals' has 0.5 in row 5; every value must be 0 or 1"),
    "nan flag": (put("timeouts", 5, np.nan), "'timeouts' has nan in row 5"),
    "no ends": (
        lambda file: [replace(name, np.zeros_like)(file) for name in ("terminals", "timeouts")],
        "marks no episode end",
    ),
    "cut-off tail": (drop_rows(2), r"no end of the last episode \(number 3, rows 9 to 9\)"),
    "seeds of other steps": (
        replace("infos/seeds", lambda v: v[:-1]),
        r"'infos/seeds' .* integers \(12,\), one per step",
    ),
    "seeds no integers": (put("infos/seeds", 0, 0.5), r"'infos/seeds' is float64"),
    "two seeds in an episode": (
        replace("infos/seeds", lambda v: np.arange(12)),
        r"'infos/seeds' has 0 and 2 in episode 0; all its steps need the same",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_refused_with_what_and_where(path, case):
    edit, message = BAD_FILES[case]
    with h5py.File(path, "r+") as file:
        edit(file)
    for read in (read_dsrl, check_dsrl):
        with pytest.raises(TrajectoryFileError, match=message) as caught:
            read(path, "BallRun")
        assert str(path) in str(caught.value)


def test_without_a_task_the_matrices_must_still_agree(path):
    with h5py.File(path, "r+") as file:
        replace("next_observations", lambda values: values[:, :3])(file)
    with pytest.raises(TrajectoryFileError, match=r"'next_observations' has shape \(12, 3\), not \(12, 7\)$"):
        read_dsrl(path)


def test_a_missing_or_foreign_file_is_refused(tmp_path):
    (tmp_path / "x.hdf5").write_text("a,b\n1,2\n")
    with pytest.raises(TrajectoryFileError, match=r"x\.hdf5: not a whole HDF5 file"):
        read_summary(tmp_path / "x.hdf5")
    with pytest.raises(TrajectoryFileError, match=r"y\.hdf5: there is no such file"):
        read_attrs(tmp_path / "y.hdf5")
    with pytest.raises(TrajectoryFileError, match="is a folder; a DSRL HDF5 file is needed"):
        read_dsrl(tmp_path)


def test_a_file_cut_off_anywhere_is_refused(tmp_path):
    write_dsrl(tmp_path / "x.hdf5", make_trajectories([50] * 4))
    whole = (tmp_path / "x.hdf5").read_bytes()
    for size in range(0, len(whole), 997):
        (tmp_path / "cut.hdf5").write_bytes(whole[:size])
        with pytest.raises(TrajectoryFileError, match=r"cut\.hdf5"):
            check_dsrl(tmp_path / "cut.hdf5", TASK)


def test_a_damaged_value_is_found_by_the_checksum(path):
    with h5py.File(path) as file:
        chunk = file["observations"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 1
    path.write_bytes(content)
    read_summary(path)  # looks at rewards, costs and flags only
    for read in (read_dsrl, check_dsrl):
        with pytest.raises(TrajectoryFileError, match=r"data\.hdf5: not a whole HDF5 file"):
            read(path)


@settings(max_examples=150, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255), at_start=st.booleans())
def test_a_damaged_byte_never_gives_another_error(tmp_path_factory, place, value, at_start):
    path = tmp_path_factory.mktemp("damaged") / "x.hdf5"
    write_dsrl(path, make_trajectories([5] * 4), {"recipe": "x"})
    content = bytearray(path.read_bytes())
    content[int(place * (2048 if at_start else len(content)))] = value
    path.write_bytes(content)
    with contextlib.suppress(TrajectoryFileError):
        read_dsrl(path, TASK)


# --- descriptions


def summary_of(costs, returns=None, lengths=None) -> EpisodeSummary:
    costs = np.asarray(costs, dtype=np.float64)
    lengths = np.full(len(costs), 100) if lengths is None else np.asarray(lengths)
    return EpisodeSummary(
        starts=np.cumsum(lengths) - lengths,
        lengths=lengths,
        returns=np.linspace(30, 1300, len(costs)) if returns is None else np.asarray(returns, dtype=np.float64),
        costs=costs,
        terminated=np.zeros(len(costs), dtype=bool),
    )


def test_histogram_intervals_are_closed_above():
    assert cost_histogram(np.array([0.0, 5.0, 5.5, 80.0])).splitlines()[:2] == [
        "        cost <= 5      2 " + "#" * 40,
        "   5 < cost <= 10      1 " + "#" * 20,
    ]


@given(hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1e4)))
def test_histogram_counts_every_trajectory_once(costs):
    lines = cost_histogram(costs).splitlines()
    assert 1 <= len(lines) <= 21
    parsed = [re.search(r"cost <= ([\d.e+]+) +(\d+)", line).groups() for line in lines]
    assert sum(int(count) for _, count in parsed) == len(costs)
    assert costs.max() <= float(parsed[-1][0]) * (1 + 1e-5)
    assert int(parsed[0][1]) == (costs <= float(parsed[0][0])).sum()


def test_description_counts_safe_and_unsafe_per_threshold():
    text = describe(summary_of([0, 10, 10.5, 20, 30, 40, 60, 80], returns=[27, 100, 1, 2, 3, 4, 5, 600]), TASK)
    assert "BallRun: 8 episodes, 800 steps; 100 to 100 steps long (horizon 100), 0 ended by the simulator" in text
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines() if re.match(r" +(10|20|40) +\d", line)}
    assert {key: (line[0], line[3]) for key, line in lines.items()} == {
        "10": ("2", "6"),
        "20": ("4", "4"),
        "40": ("6", "2"),
    }
    assert lines["10"][-2:] == ["100.00", "(0.06)"]
    assert "Warning" not in text
    assert text.endswith(cost_histogram(np.array([0, 10, 10.5, 20, 30, 40, 60, 80])))


def test_description_tells_of_unsafe_only_data_and_of_missing_ends():
    text = describe(summary_of([70, 80], lengths=[100, 201]), TASK)
    assert "none" in text
    assert "Warning: 1 episodes are longer than the horizon" in text


@pytest.mark.parametrize("ending", ["png", "pdf"])
def test_plot_is_a_readable_picture(tmp_path, ending):
    path = tmp_path / f"plot.{ending}"
    plot_reward_cost(summary_of(np.linspace(0, 80, 200)), TASK, path)
    assert path.read_bytes().startswith(b"\x89PNG" if ending == "png" else b"%PDF")
    assert path.stat().st_size > 5_000
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
