"""The commands on a results folder, that of one finished sweep: `status`, `report`, `sync`, `ui`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from prefine_ray.cli.parser import BROKEN_PIPE, main
from tests.mlflow_store import free_port, wait_until_up
from tests.small_sweep import CELLS, finish, prefine


@pytest.fixture
def results(finished, tmp_path) -> Path:
    """A copy of the finished sweep's folder."""
    return Path(shutil.copytree(finished[0] / "results", tmp_path / "results"))


def test_status_says_that_all_cells_are_done(results, capsys):
    assert main(["status", str(results)]) == 0
    output = capsys.readouterr().out
    assert output.startswith(f"mini in {results}")
    ball_run = next(line for line in output.splitlines() if line.split()[:1] == ["BallRun"])
    assert ball_run.split()[1:] == [str(CELLS // 2), "0", "0", "0", str(CELLS // 2)]


def test_report_makes_tables_and_plots_from_the_rows_alone(results, tmp_path, capsys):
    output = tmp_path / "elsewhere"
    assert main(["report", str(results), "--output", str(output)]) == 0
    table = (output / "tables" / "summary.md").read_text()
    assert table == (results / "tables" / "summary.md").read_text()
    assert list((output / "plots").glob("*.png"))
    assert f"Report: {output / 'report.html'}" in capsys.readouterr().out


def test_sync_sends_to_a_new_store_what_it_lacks(results, capsys):
    shutil.rmtree(results / "mlflow")
    assert main(["sync", str(results)]) == 0
    assert main(["sync", str(results)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{CELLS} cells sent to MLflow", "0 cells sent to MLflow"]


def test_ui_serves_the_pages_until_ctrl_c(results, tmp_path):
    port = free_port()
    process = prefine(tmp_path, "ui", str(results), "--port", str(port))
    try:
        wait_until_up(f"http://127.0.0.1:{port}", process)
    finally:
        process.send_signal(signal.SIGINT)
    assert f"http://127.0.0.1:{port}" in finish(process)


@pytest.mark.parametrize("command", ["status", "report", "sync"])
def test_a_folder_without_a_sweep_is_one_clear_error(command, tmp_path, capsys):
    assert main([command, str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"prefine: error: {tmp_path}")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_leaves_ends_a_command_quietly(unbuffered):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "prefine_ray", "tasks"]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(command, stdout=write, stderr=subprocess.PIPE, text=True, env=environment) as process:
        os.close(write)
        assert process.communicate()[1] == ""
    assert process.returncode == BROKEN_PIPE
