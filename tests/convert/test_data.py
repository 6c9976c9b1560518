"""Data in: Minari's own data sets, D4RL's layout, .npz files, replay buffers of Stable-Baselines3, and Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import minari
import numpy as np
import pytest
from stable_baselines3 import SAC

from prefine_ray.cli.parser import main
from prefine_ray.convert.data import converting, sb3
from prefine_ray.convert.data.converting import convert
from prefine_ray.convert.data.source import DataImportError
from prefine_ray.data.hdf5 import check_dsrl, read_attrs, read_dsrl
from prefine_ray.data.trajectories import STEP_DATASETS, EpisodeError, Trajectories
from prefine_ray.simulators import make_env
from prefine_ray.tasks.spec import get_task
from tests.makers import ball_run_episodes

TASK = get_task("BallRun")


def same(left: Trajectories, right: Trajectories) -> None:
    for name in STEP_DATASETS:
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name), err_msg=name)


def as_episodes(data: Trajectories) -> list[dict[str, Any]]:
    """The episodes as somebody's loop has them."""
    episodes = []
    for start, length, seed in zip(data.starts, data.lengths, data.seeds, strict=True):
        rows = slice(start, start + length)
        episodes.append(
            {
                "observations": np.concatenate([data.observations[rows], data.next_observations[rows][-1:]]),
                **{name: getattr(data, name)[rows] for name in ("actions", "rewards", "costs")},
                "terminated": data.terminals[rows][-1],
                "seed": seed,
            }
        )
    return episodes


def test_episodes_of_a_loop_are_trajectories():
    data = ball_run_episodes()
    found = Trajectories.from_episodes(as_episodes(data))
    same(found, data)
    assert found.seeds.tolist() == data.seeds.tolist()


def changed(**changes: Any) -> list[dict[str, Any]]:
    """Two episodes, the second one with other values; None stands for leaving one out."""
    first, second, *_ = as_episodes(ball_run_episodes())
    second = {key: value for key, value in {**second, **changes}.items() if value is not None}
    return [first, second]


INCONSISTENT = {
    "no costs": ({"costs": None}, "episode 1: has no costs; give them, or say that there are none"),
    "no rewards": ({"rewards": None}, "episode 1: has no rewards; it has observations, actions"),
    "as many observations as actions": (
        {"observations": np.zeros((100, 7))},
        "episode 1: has 100 observations and 100 actions; one observation more than actions is needed",
    ),
    "other sizes": ({"observations": np.zeros((101, 5))}, "episode 1: observations has 5 columns, and episode 0 has 7"),
    "fewer rewards": ({"rewards": np.zeros(99)}, r"episode 1: rewards has shape \(99,\), not \(100,\)"),
    "a NaN": ({"rewards": np.full(100, np.nan)}, "episode 1: rewards holds NaN or infinity"),
    "a negative cost": ({"costs": np.full(100, -1.0)}, "episode 1: has a cost of -1; a step costs 0 or more"),
    "words": ({"actions": np.full((100, 2), "a")}, "episode 1: actions holds <U1, not numbers"),
    "no steps": ({"actions": np.zeros((0, 2))}, "episode 1: has no steps"),
    "no seed": ({"seed": None}, "episode 1: has no seed, and others have; all or none"),
}


@pytest.mark.parametrize("case", INCONSISTENT)
def test_inconsistent_episodes_are_refused_with_one_line(case):
    changes, message = INCONSISTENT[case]
    with pytest.raises(EpisodeError, match=message) as caught:
        Trajectories.from_episodes(changed(**changes))
    assert "\n" not in str(caught.value)


class CostAtReset(gymnasium.Wrapper):
    """Minari needs the same info of reset and step."""

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = super().reset(**options)
        return observation, {**info, "cost": 0.0}


def collected(env: gymnasium.Env, name: str, **settings: Any) -> list[list[float]]:
    """A data set of two episodes that Minari collects; the costs of each."""
    collector = minari.DataCollector(env, **settings)
    costs = []
    for seed in (3, 4):
        collector.reset(seed=seed)
        collector.action_space.seed(seed)
        costs.append([])
        done = False
        while not done:
            *_, terminated, truncated, info = collector.step(collector.action_space.sample())
            costs[-1].append(info.get("cost", 0.0))
            done = terminated or truncated
    collector.create_dataset(name, algorithm_name="random")
    return costs


@pytest.fixture
def local_minari(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path / "minari"


def test_a_data_set_of_minari_by_id_and_folder(local_minari, tmp_path, capsys):
    costs = collected(CostAtReset(make_env("BallRun")), "ball/run-v0", record_infos=True)
    output = tmp_path / "ball.hdf5"
    assert main(["data", "convert", "ball/run-v0", "--task", "BallRun", "-o", str(output)]) == 0
    assert f"2 episodes, 200 steps of minari\n{output}" in capsys.readouterr().out
    data = read_dsrl(output, "BallRun")
    assert data.seeds.tolist() == [3, 4]
    np.testing.assert_array_equal(data.costs, np.concatenate(costs).astype(np.float32))
    env = make_env("BallRun")
    first, _ = env.reset(seed=3)
    np.testing.assert_array_equal(first, data.observations[0])
    np.testing.assert_allclose(env.step(data.actions[0])[0], data.next_observations[0])
    convert(str(local_minari / "ball" / "run-v0"), tmp_path / "again.hdf5", TASK)
    same(read_dsrl(tmp_path / "again.hdf5"), data)


def test_minari_without_costs_and_of_other_sizes_is_refused(local_minari, tmp_path, capsys):
    collected(CostAtReset(make_env("BallRun")), "ball/bare-v0")
    words = ["data", "convert", "ball/bare-v0", "--task", "BallRun", "-o", str(tmp_path / "x.hdf5")]
    assert main(words) == 2
    assert (
        "ball/bare-v0: has no costs (info['cost'] of each step); add them, or give --no-cost" in capsys.readouterr().err
    )
    assert not (tmp_path / "x.hdf5").exists()
    assert main([*words, "--no-cost"]) == 0
    assert "only labels do" in capsys.readouterr().out
    assert read_attrs(tmp_path / "x.hdf5")["costs"] == converting.NO_COST
    assert not read_dsrl(tmp_path / "x.hdf5").costs.any()
    with pytest.raises(DataImportError, match="has 7 observations and 2 actions; DroneRun has 17 and 4"):
        convert("ball/bare-v0", tmp_path / "y.hdf5", get_task("DroneRun"), no_cost=True)


def flat_arrays() -> dict[str, np.ndarray]:
    data = ball_run_episodes()
    return {name: getattr(data, name) for name in STEP_DATASETS}


def write_flat(path: Path, arrays: dict[str, Any]) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, value in arrays.items():
                file[name] = value
            file["metadata/algorithm"] = "SAC"
    return path


@pytest.mark.parametrize("ending", [".hdf5", ".npz"])
def test_d4rl_s_layout(ending, tmp_path):
    arrays = flat_arrays()
    arrays["infos/cost" if ending == ".hdf5" else "cost"] = arrays.pop("costs")
    done = convert(str(write_flat(tmp_path / f"d{ending}", arrays)), tmp_path / "out.hdf5", TASK)
    assert (done.source, done.notes) == ("d4rl" if ending == ".hdf5" else "npz", [])
    same(read_dsrl(tmp_path / "out.hdf5", "BallRun"), ball_run_episodes())
    check_dsrl(tmp_path / "out.hdf5", "BallRun")


def test_what_d4rl_lacks_is_told(tmp_path):
    arrays = {name: value[:-10] for name, value in flat_arrays().items() if name != "next_observations"}
    arrays["actions"] = 3 * arrays["actions"]
    source = str(write_flat(tmp_path / "d.hdf5", arrays))
    with pytest.raises(DataImportError, match=r"an action is -?\d.*, outside of its box; give --action-range"):
        convert(source, tmp_path / "out.hdf5", TASK)
    done = convert(source, tmp_path / "out.hdf5", TASK, action_range=(-3.0, 3.0))
    assert any("the last 90 steps end no episode" in note for note in done.notes)
    assert any("no next_observations" in note for note in done.notes)
    data, whole = read_dsrl(tmp_path / "out.hdf5"), ball_run_episodes()
    assert len(data) == len(whole) - 1
    np.testing.assert_allclose(data.actions, whole.actions[:700], atol=1e-6)
    np.testing.assert_array_equal(data.next_observations[99], data.observations[99])


@pytest.mark.parametrize("link", [False, True])
def test_costs_that_lie_in_another_file_are_refused(link, tmp_path):
    path = write_flat(tmp_path / "d.hdf5", without("costs"))
    write_flat(tmp_path / "other.hdf5", flat_arrays())
    with h5py.File(path, "r+") as file:
        if link:
            file["costs"] = h5py.ExternalLink("other.hdf5", "/costs")
        else:
            layout = h5py.VirtualLayout(shape=(800,), dtype="f4")
            layout[:] = h5py.VirtualSource("gone.hdf5", "costs", shape=(800,))
            file.create_virtual_dataset("costs", layout)
    with pytest.raises(DataImportError, match=f"{path}: .*costs is (a link to another|kept in other) file"):
        convert(str(path), tmp_path / "out.hdf5", TASK)


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in flat_arrays().items() if name not in names}


BAD = {
    "no costs": (without("costs"), "has no costs"),
    "no timeouts": (without("timeouts"), "has no timeouts; add them, 1 in the last step of each episode"),
    "no actions": (without("actions"), "has no actions; it has observations"),
    "other numbers of steps": (
        {**flat_arrays(), "rewards": np.zeros(9)},
        r"rewards has shape \(9,\), and there are 800",
    ),
    "no ends": ({**flat_arrays(), "timeouts": np.zeros(800)}, "marks no end of an episode"),
    "too long episodes": (
        {**flat_arrays(), "timeouts": np.arange(800) == 799},
        "lets episode 0 have 800 steps; those of BallRun have at most 100",
    ),
    "summed costs": (
        {**flat_arrays(), "costs": np.arange(800) % 100.0},
        "rises by 0 or 1 in every step .* it is summed up",
    ),
    "pickled objects": (
        {**flat_arrays(), "rewards": np.array([{}] * 800, dtype=object)},
        "not an .npz file of plain arrays",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_inconsistent_data_are_refused_with_one_line(case, tmp_path):
    arrays, message = BAD[case]
    source = write_flat(tmp_path / "d.npz", arrays)
    with pytest.raises(DataImportError, match=message) as caught:
        convert(str(source), tmp_path / "out.hdf5", TASK)
    assert str(source) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["d.npz"]


@pytest.mark.parametrize("size", [1000, 250])
def test_a_replay_buffer_of_sb3(size, tmp_path):
    """Of 350 steps and 3 whole episodes; of a full one nobody knows whether its first episode is whole."""
    model = SAC("MlpPolicy", make_env("BallRun"), buffer_size=size, learning_starts=1000, seed=0, device="cpu")
    model.learn(350)
    model.save_replay_buffer(tmp_path / "rb.pkl")
    source = str(tmp_path / "rb.pkl")
    with pytest.raises(DataImportError, match="saves a replay buffer as a pickle, which is refused"):
        convert(source, tmp_path / "out.hdf5", TASK, no_cost=True)
    with pytest.raises(DataImportError, match="has no costs"):
        convert(source, tmp_path / "out.hdf5", TASK, trust=True)
    done = convert(source, tmp_path / "out.hdf5", TASK, no_cost=True, trust=True)
    assert done.notes[0] == f"{50 if size == 1000 else 150} steps of episodes that are not whole are left out"
    data = read_dsrl(tmp_path / "out.hdf5", "BallRun")
    assert data.lengths.tolist() == [100] * (3 if size == 1000 else 1)
    buffer = model.replay_buffer
    assert buffer is not None
    np.testing.assert_array_equal(data.rewards[-1], buffer.rewards[299 % size, 0])
    np.testing.assert_array_equal(data.actions[-1], buffer.actions[299 % size, 0])
    np.testing.assert_array_equal(data.next_observations[-1], buffer.next_observations[299 % size, 0])


def test_a_pickle_of_something_else_is_refused(tmp_path):
    (tmp_path / "x.pkl").write_bytes(b"\x80\x04N.")
    with pytest.raises(DataImportError, match="not a replay buffer that can be read here"):
        sb3.read(tmp_path / "x.pkl", trust=True)


def test_unknown_sources_are_refused(tmp_path):
    (tmp_path / "x.txt").write_text("x")
    for source, message in ((str(tmp_path / "x.txt"), "of no kind that is known"), ("no/such-v0", "no such file")):
        with pytest.raises(DataImportError, match=message):
            convert(source, tmp_path / "out.hdf5", TASK)
    (tmp_path / "m").mkdir()
    metadata = {"observation_space": json.dumps({"type": "Discrete"}), "action_space": json.dumps({"type": "Box"})}
    (tmp_path / "m" / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(DataImportError, match="its observations are Discrete; Box or Dict is needed"):
        convert(str(tmp_path / "m"), tmp_path / "out.hdf5", TASK)
