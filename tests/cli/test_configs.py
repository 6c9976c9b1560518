"""`prefine configs ...`, and shipped configurations by name."""

from __future__ import annotations

import pytest
import yaml

from prefine_ray.cli.parser import main
from prefine_ray.experiment.config import ConfigError
from prefine_ray.experiment.shipped import find_config, shipped_configs
from tests.small_sweep import CELLS, CONFIG


def test_the_shipped_ones_are_listed_and_shown_as_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # known from any folder
    assert main(["configs", "list"]) == 0
    listed = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert {"quick", "paper", "search"} <= set(listed)
    assert "all ten tasks" in listed["quick"]
    assert main(["configs", "show", "quick"]) == 0
    assert capsys.readouterr().out == shipped_configs()["quick"].read_text()


@pytest.mark.parametrize("name", shipped_configs())
def test_every_shipped_one_is_valid_and_says_what_it_would_run(name, capsys):
    assert main(["configs", "check", name]) == 0
    assert yaml.safe_load(find_config(name).read_text())["name"] in capsys.readouterr().out


def test_check_counts_the_cells_that_a_sweep_would_run(tmp_path, capsys):
    path = tmp_path / "mini.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    assert main(["configs", "check", str(path)]) == 0
    _, head, methods, *tasks = capsys.readouterr().out.splitlines()
    assert head == f"mini: {CELLS} cells on 2 tasks"
    assert methods.split() == ["task", "cells", "base", "prefine", "bc_all", "trac"]
    assert tasks[0].split() == ["BallRun", "12", "2", "6", "2", "2"]


def test_check_names_the_key_that_is_wrong(tmp_path, capsys):
    path = tmp_path / "mini.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, "finetune": {"betta": 1}}))
    assert main(["configs", "check", str(path)]) == 2
    assert "finetune.betta: unknown key. Did you mean 'beta'?" in capsys.readouterr().err


def test_a_file_wins_over_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config("quick") == find_config("quick.yaml") == shipped_configs()["quick"]
    (tmp_path / "quick").write_text("name: mine\n")
    assert find_config("quick").resolve() == tmp_path / "quick"


def test_an_unknown_name_is_an_error_with_the_near_ones():
    with pytest.raises(ConfigError, match=r"quik: no such file.*Did you mean 'quick'\? Shipped: .*paper"):
        find_config("quik")
