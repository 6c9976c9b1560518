import json
import time

import pandas as pd

from prefine_ray.analysis.progress.status import status_text
from prefine_ray.analysis.rows import load_results
from prefine_ray.experiment.config import dump_config, make_config
from prefine_ray.results.folder import ResultsDir
from prefine_ray.tasks.spec import get_task

CONFIG = make_config(name="study", tasks=["BallRun", "CarRun"], weights=[0, 5], seeds=1)


def cell(task: str, weight: float) -> dict:
    return {
        "cell": f"{task}{weight:g}",
        "method": "prefine",
        "task": task,
        "preferred": "best",
        "num_preferred": 100,
        "label_noise": 0.0,
        "threshold": 20.0,
        "weight": weight,
        "seed": 0,
        "split": "test",
    }


CELLS = [cell(task, weight) for task in CONFIG.tasks for weight in (0.0, 5.0)]


def finish(results: ResultsDir, row: dict, cost: float, episode_return: float) -> None:
    episode = {"episode": 0, "return": episode_return, "cost": cost, "length": 100, "terminated": False}
    rows = {
        "trials": pd.DataFrame([{**row, "status": "finished", "error": ""}]),
        "episodes": pd.DataFrame([{**row, "stage": "finetuned", **episode}]),
    }
    results.write_part(row["cell"], rows)


def begin(tmp_path, phase: str = "running", updated: float = 0.0) -> ResultsDir:
    """A folder with a driver that wrote its state `updated` seconds ago and began 100 s earlier."""
    results = ResultsDir(tmp_path)
    results.write_config(dump_config(CONFIG))
    results.write_grid(CELLS)
    now = time.time() - updated
    pack = {"name": "p", "task": "CarRun", "label": "prefine CarRun", "cells": 1, "started": now - 90, "failures": 2}
    state = {"host": "h", "pid": 7, "started": now - 100, "updated": now, "phase": phase, "running": [pack]}
    (tmp_path / "state.json").write_text(json.dumps(state))
    return results


def test_cells_pace_best_and_errors(tmp_path):
    results = begin(tmp_path)
    finish(results, CELLS[0], cost=50.0, episode_return=1000.0)
    finish(results, CELLS[1], cost=10.0, episode_return=500.0)
    results.write_failure("bad", [CELLS[2]], "Traceback ...\nValueError: no good")
    lines = status_text(tmp_path).splitlines()
    assert "3 of 4 cells ended, 1 of them failed; 108 cells/h, about 33 s left" in lines
    table = [line.split() for line in lines]
    assert ["task", "done", "running", "failed", "left", "of"] in table
    assert ["BallRun", "2", "0", "0", "0", "2"] in table
    assert ["CarRun", "0", "1", "1", "0", "2"] in table
    assert any(line.startswith("running: prefine CarRun, 1 cells for ") and "lost 2 times" in line for line in lines)
    assert any("best so far: BallRun threshold 20: prefine best N_p=100 w=5" in line for line in lines)
    assert "error: CarRun prefine, 1 cells: ValueError: no good" in lines
    log = tmp_path / "logs" / "bad.log"
    assert f"       log: {log}" in lines
    assert "Traceback ..." in log.read_text()


def test_the_cheapest_is_the_best_where_none_is_safe(tmp_path):
    results = begin(tmp_path)
    finish(results, CELLS[0], cost=50.0, episode_return=1000.0)
    finish(results, CELLS[1], cost=40.0, episode_return=500.0)
    reward = get_task("BallRun").normalized_reward(500.0)
    assert f"w=5, normalised reward {reward:.2f}, cost 2.00 (uncertain, seeds: 1)" in status_text(tmp_path)


def test_a_lost_driver_is_said_and_nothing_runs(tmp_path):
    begin(tmp_path, updated=3600.0)
    text = status_text(tmp_path)
    assert "LOST: process 7 on h gave its last sign of life 60 min ago" in text
    assert "running: " not in text
    assert "0 of 4 cells ended" in text


def test_a_stopped_sweep_tells_how_to_resume(tmp_path):
    begin(tmp_path, phase="stopped", updated=10.0)
    assert "stopped 10 s ago, process 7 on h; run the same command again to resume" in status_text(tmp_path)


def test_a_lost_head_node_is_said(tmp_path):
    begin(tmp_path, phase="lost", updated=10.0)
    text = status_text(tmp_path)
    assert "LOST: Ray's head node was, 10 s ago, process 7 on h; run the same command again to resume" in text


def test_before_the_first_cell(tmp_path):
    ResultsDir(tmp_path).write_config(dump_config(CONFIG))
    assert "no cells yet" in status_text(tmp_path)


def test_tasks_whose_data_are_still_made_are_named(tmp_path):
    results = begin(tmp_path)
    assert "no cells yet" not in status_text(tmp_path)
    results.write_grid(CELLS[:2])
    finish(results, CELLS[0], cost=5.0, episode_return=500.0)
    assert "no cells yet, as data and base policies come first: CarRun\n" in status_text(tmp_path)
    assert any(gap.endswith(": no cells yet of CarRun; resume the sweep.") for gap in load_results(tmp_path).gaps)


def test_cells_of_an_earlier_grid_do_not_count(tmp_path):
    results = begin(tmp_path)
    finish(results, {**CELLS[0], "cell": "old", "weight": 9.0}, cost=1.0, episode_return=900.0)
    text = status_text(tmp_path)
    assert "0 of 4 cells ended" in text
    assert "w=9" not in text


def test_a_folder_of_before_the_tuning_seeds_is_shown(tmp_path):
    results = begin(tmp_path)
    old = [{key: value for key, value in cell.items() if key != "split"} for cell in CELLS]
    results.write_grid(old)
    finish(results, old[0], cost=1.0, episode_return=900.0)
    assert "1 of 4 cells ended" in status_text(tmp_path)
