"""`prefine tasks` and `prefine data ...` as a user runs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prefine_ray.cli.parser import build_parser, main
from prefine_ray.data.hdf5 import read_dsrl
from prefine_ray.tasks.spec import TASKS
from tests.data.test_download import FileServer
from tests.small_sweep import finish, prefine


@pytest.mark.parametrize("words", [["tasks"], ["tasks", "list"]], ids=" ".join)
def test_tasks_are_listed_with_their_thresholds(words, capsys):
    assert main(words) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["task", "suite", "obs", "act", "steps", "reward", "0..1", "thresholds"]
    assert [line.split()[0] for line in lines] == list(TASKS)
    assert "10/20/40" in lines[0]


def test_collect_is_the_same_as_data_collect():
    options = ["--task", "BallRun", "--episodes", "60", "--actors", "2"]
    short, long = (vars(build_parser().parse_args([*words, *options])) for words in (["collect"], ["data", "collect"]))
    assert short == long


@pytest.mark.ray
def test_data_are_collected_by_actors_as_without_them(data_folder, tmp_path):
    words = ["data", "collect", "--task", "BallRun", "--episodes", "60", "--actors", "2"]
    output = finish(prefine(tmp_path, *words))
    path = tmp_path / output.splitlines()[-1]
    assert path.parent == tmp_path / "data"
    collected, expected = (read_dsrl(file, "BallRun") for file in (path, next(data_folder.glob("*.hdf5"))))
    np.testing.assert_array_equal(collected.observations, expected.observations)
    np.testing.assert_array_equal(collected.costs, expected.costs)


def test_a_published_file_is_fetched_from_the_named_host(data_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = FileServer(next(data_folder.glob("*.hdf5")).read_bytes())
    try:
        command = ["data", "fetch", "--task", "BallRun", "--directory", str(tmp_path), "--base-url", server.url]
        assert main(command) == 0
    finally:
        server.close()
    assert Path(capsys.readouterr().out.strip()).read_bytes() == server.content


def test_the_newest_collected_file_is_described(data_folder, tmp_path, capsys):
    plot = tmp_path / "scatter.png"
    assert main(["data", "describe", "--task", "BallRun", "--data-dir", str(data_folder), "--plot", str(plot)]) == 0
    output = capsys.readouterr().out
    assert output.startswith(str(data_folder / "BallRun-60-here.hdf5"))
    assert "BallRun: 60 episodes" in output
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_missing_data_are_one_clear_error(tmp_path, capsys):
    assert main(["data", "describe", "--task", "BallRun", "--data-dir", str(tmp_path)]) == 2
    assert "run `prefine data collect --task BallRun`" in capsys.readouterr().err
