"""Paths in configurations and options: one meaning, wherever and whenever they are read."""

import os
from pathlib import Path

import pytest

from prefine_ray.core.paths import PathTextError, absolute_template, path_of
from prefine_ray.experiment.config import ConfigError, dump_config, parse_config


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLACE", "/there")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.delenv("NOWHERE", raising=False)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("data/{task}.hdf5", "HERE/data/BallRun.hdf5"),
        ("~/{task}/x", "/home/me/BallRun/x"),
        ("$PLACE/x", "/there/x"),
        ("${PLACE}/{task}{task}", "/there/BallRunBallRun"),
        ("/a/b", "/a/b"),
        ("a{{b}}", "HERE/a{b}"),
    ],
)
def test_paths_are_made_absolute_once(tmp_path, text, path):
    absolute = absolute_template(text)
    os.chdir("/")
    assert absolute_template(absolute) == absolute
    assert path_of(absolute, "BallRun") == Path(path.replace("HERE", str(tmp_path)))


def test_a_working_directory_with_braces_is_no_template(tmp_path):
    folder = tmp_path / "{x}"
    folder.mkdir()
    os.chdir(folder)
    assert path_of(absolute_template("{task}"), "BallRun") == folder / "BallRun"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data/{tsk}", r"\{tsk\} stands for nothing; only \{task\}"),
        ("{task!r}", r"\{task!r\} stands for nothing"),
        ("{task.__class__}", "stands for nothing"),
        ("{}", "stands for nothing"),
        ("{0}", "stands for nothing"),
        ("{task:>9}", "stands for nothing"),
        ("a{", "write {{ for a brace itself"),
        ("$NOWHERE/x", r"\$NOWHERE is not set"),
        ("${NOWHERE}/x", r"NOWHERE\} is not set"),
        ("~nobody-of-this-name/x", "there is no user"),
        ("", "not an empty text"),
        (" ", "not an empty text"),
        ("a\0b", "character that no path should have"),
    ],
)
def test_paths_that_mean_nothing_are_refused(text, message):
    with pytest.raises(PathTextError, match=message):
        absolute_template(text)


KEYS = {"base": "b.safetensors", "data.source": "d/{task}.hdf5", "preferences.labels": "l.csv"}


def test_a_configuration_that_was_kept_means_the_same_files_elsewhere(tmp_path):
    own = {"task_settings": {"CarRun": {"data": {"source": "own.hdf5"}, "preferences": {"labels": "~/own.csv"}}}}
    kept = dump_config(parse_config("name: x", "f.yaml", {**KEYS, **own}))
    os.chdir("/")
    config = parse_config(kept, "config.yaml")
    assert dump_config(config) == kept
    assert config.base == f"{tmp_path}/b.safetensors"
    assert config.data.source == f"{tmp_path}/d/{{task}}.hdf5"
    assert config.preferences.labels == f"{tmp_path}/l.csv"
    assert config.for_task("CarRun").data.source == f"{tmp_path}/own.hdf5"
    assert config.for_task("CarRun").preferences.labels == "/home/me/own.csv"


@pytest.mark.parametrize("key", KEYS)
def test_a_wrong_path_is_told_with_its_key(key):
    with pytest.raises(ConfigError, match=rf"f\.yaml: {key}: .*stands for nothing"):
        parse_config("name: x", "f.yaml", {key: "{tsk}"})


def test_a_wrong_path_of_one_task_is_told():
    own = {"task_settings": {"CarRun": {"data": {"source": "{tsk}"}}}}
    with pytest.raises(ConfigError, match=r"f\.yaml: task_settings.*stands for nothing"):
        parse_config("name: x", "f.yaml", own)


def test_words_are_no_paths():
    config = parse_config("name: x", "f.yaml", {"base": "bc_all", "data.source": "dsrl"})
    assert (config.base, config.data.source) == ("bc_all", "dsrl")


@pytest.mark.parametrize("name", ["..", ".", "a/b", "/a", "-x", "", "x" * 200, "a b", "é"])
def test_a_name_is_no_path(name):
    with pytest.raises(ConfigError, match=r"f\.yaml: name"):
        parse_config("{}", "f.yaml", {"name": name})
