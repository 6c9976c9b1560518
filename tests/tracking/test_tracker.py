"""The MLflow view against real stores: sqlite files, and an `mlflow server` that is killed and started again."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from prefine_ray.core.password_mask import mask
from prefine_ray.results.folder import ResultsDir
from prefine_ray.tasks.spec import get_task
from prefine_ray.tracking import tracker as tracking
from prefine_ray.tracking.mlflow_ui import ServeError, serve
from prefine_ray.tracking.store import EXPERIMENT, tracking_uri
from prefine_ray.tracking.tracker import Tracker
from prefine_ray.tracking.upload import Upload
from tests.faults.processes import title, tree, wait_for
from tests.mlflow_store import (
    CURVE_STEPS,
    STEPS,
    Server,
    Store,
    curve,
    episodes,
    free_port,
    identity,
    trial,
    wait_until_up,
    write_failed,
    write_pack,
)

# ---------------------------------------------------------------------- what is logged


def test_a_finished_cell_is_a_child_run_with_its_values(uri: str, results: ResultsDir) -> None:
    write_pack(results, "p1", ["aa", "bb"])
    tracker = Tracker(results, "quick", uri)
    tracker.start("name: quick\n")
    store = Store(uri, results)
    store.assert_complete(["aa", "bb"])
    run = store.children["bb"]
    assert run.info.run_name == "BallRun prefine seed 1 (best, 20, w=5)"
    assert run.data.tags["prefine.sweep"] == "quick"
    identity_params = {"task": "BallRun", "method": "prefine", "preferred": "best", "threshold": "20", "weight": "5"}
    assert run.data.params == {**identity_params, "cell": "bb", "seed": "1", "steps": "500"}
    assert store.history("bb", "entropy") == [(s, 2.0 - s / 1000) for s in CURVE_STEPS]
    assert store.history("bb", "accuracy") == [(STEPS, 0.75)]
    metrics = run.data.metrics
    returns = np.array([500.0, 501.0, 502.0, 503.0])
    assert metrics["mean_return"] == 501.5
    assert metrics["normalized_reward"] == pytest.approx(get_task("BallRun").normalized_reward(returns).mean())
    assert metrics["normalized_cost"] == pytest.approx(26.25 / 20)
    assert (metrics["violation_rate"], metrics["catastrophe_rate"]) == (0.5, 0.25)
    assert run.info.end_time - run.info.start_time == 8000
    path = store.client.download_artifacts(run.info.run_id, "policy/bb.safetensors")
    assert Path(path).read_bytes() == b"bb"


def test_a_failed_cell_keeps_its_error_and_later_ones_are_sent(uri: str, results: ResultsDir) -> None:
    write_failed(results, "p1", "aa")
    write_pack(results, "p2", ["bb"])
    assert Tracker(results, "quick", uri).sync().logged == 2
    children = Store(uri, results).children
    assert (children["aa"].info.status, children["bb"].info.status) == ("FAILED", "FINISHED")
    assert "NaN in the loss" in children["aa"].data.tags["prefine.error"]
    assert "prefine.error" not in children["bb"].data.tags


def test_a_base_cell_has_scores_at_each_threshold(uri: str, results: ResultsDir) -> None:
    ident = identity("aa", method="base", seed=3)
    rows = pd.DataFrame([{**ident, "status": "finished", "error": ""}])
    results.write_part("p1", {"episodes": episodes(ident, [15.0, 45.0]), "trials": rows})
    Tracker(results, "quick", uri).sync()
    run = Store(uri, results).children["aa"]
    assert run.info.run_name == "BallRun base seed 3"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"cell": "aa", "method": "base", "task": "BallRun", "seed": "3"}
    rates = [run.data.metrics[f"violation_rate_{threshold}"] for threshold in (10, 20, 40)]
    assert rates == [1.0, 0.5, 0.5]
    assert run.data.metrics["normalized_cost_40"] == pytest.approx(30 / 40)


def test_curves_longer_than_one_call_and_values_that_are_not_finite(uri: str, results: ResultsDir) -> None:
    ident = identity("aa")
    curves = curve(ident, range(1, 1201))
    curves.loc[curves["step"] == 7, "loss"] = np.nan
    curves["absent"] = np.nan
    results.write_part("p1", {"curves": curves, "trials": pd.DataFrame([trial(ident, steps=1200)])})
    Tracker(results, "quick", uri).sync()
    store = Store(uri, results)
    assert [step for step, _ in store.history("aa", "entropy")] == list(range(1, 1201))
    assert [step for step, _ in store.history("aa", "loss")] == [s for s in range(1, 1201) if s != 7]
    assert "absent" not in store.children["aa"].data.metrics


def test_the_parent_run_is_reopened_and_ended(uri: str, results: ResultsDir) -> None:
    for name in ("tables/summary.md", "tables/summary.csv", "tables/notes.txt", "plots/fronts.png"):
        (results.root / name).parent.mkdir(parents=True, exist_ok=True)
        (results.root / name).write_text(name)
    tracker = Tracker(results, "quick", uri)
    tracker.start("name: quick\n")
    store = Store(uri, results)
    first = store.parent.info
    assert (first.run_name, first.status) == ("quick", "RUNNING")
    tracker.finish("KILLED")
    assert store.parent.info.status == "KILLED"
    again = Tracker(results, "quick", uri)
    again.start("name: quick\nseeds: 7\n")
    assert (store.parent.info.run_id, store.parent.info.status) == (first.run_id, "RUNNING")
    again.finish("FINISHED")
    assert store.parent.info.status == "FINISHED"
    assert store.artifacts(store.parent) == ["config.yaml", "plots", "tables"]
    assert store.artifacts(store.parent, "tables") == ["tables/summary.csv", "tables/summary.md"]
    config = store.client.download_artifacts(store.parent.info.run_id, "config.yaml")
    assert Path(config).read_text() == "name: quick\nseeds: 7\n"


# ---------------------------------------------------------------------- once and whole


def test_a_second_sync_sends_new_cells_only(uri: str, results: ResultsDir) -> None:
    write_pack(results, "p1", ["aa", "bb"])
    tracker = Tracker(results, "quick", uri)
    assert tracker.sync().logged == 2
    before = {cell: run.info.run_id for cell, run in Store(uri, results).children.items()}
    assert tracker.sync().logged == 0
    write_pack(results, "p2", ["cc"])
    assert tracker.sync().logged == 1
    assert tracker.sync().logged == 0
    store = Store(uri, results)
    store.assert_complete(["aa", "bb", "cc"])
    assert {cell: store.children[cell].info.run_id for cell in before} == before


def test_the_servers_tags_decide_when_the_record_is_lost(uri: str, results: ResultsDir) -> None:
    write_pack(results, "p1", ["aa", "bb"])
    tracker = Tracker(results, "quick", uri)
    tracker.start("name: quick\n")
    tracker.finish("KILLED")
    (results.root / "mlflow" / "sent.json").unlink()
    write_pack(results, "p2", ["cc"])
    assert Tracker(results, "quick", uri).sync().logged == 1
    store = Store(uri, results)
    store.assert_complete(["aa", "bb", "cc"])
    assert store.parent.info.status == "KILLED"


class Crash(BaseException):
    """Ends a sync as a killed process would."""


@pytest.mark.parametrize("method", ["create_run", "log_batch", "log_artifact", "set_terminated"])
@pytest.mark.parametrize("before", [True, False])
def test_a_crash_in_the_middle_doubles_nothing(
    uri: str, results: ResultsDir, monkeypatch: pytest.MonkeyPatch, method: str, before: bool
) -> None:
    Tracker(results, "quick", uri).start("name: quick\n")
    write_pack(results, "p1", ["aa", "bb", "cc"])
    original, calls = getattr(MlflowClient, method), []

    def crash_at_the_second(*args: object, **options: object) -> object:
        calls.append(args)
        if before and len(calls) == 2:
            raise Crash
        outcome = original(*args, **options)
        if len(calls) == 2:
            raise Crash
        return outcome

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, method, crash_at_the_second)
        with pytest.raises(Crash):
            Tracker(results, "quick", uri).sync()
    store = Store(uri, results)
    assert len(store.children) < 3
    Tracker(results, "quick", uri).sync()
    store.assert_complete(["aa", "bb", "cc"])


def test_a_retried_cell_replaces_its_failed_run(uri: str, results: ResultsDir) -> None:
    write_failed(results, "p1", "aa")
    tracker = Tracker(results, "quick", uri)
    tracker.sync()
    assert results.forget_failed() == 1
    write_pack(results, "p1", ["aa"])  # the same pack again
    tracker.sync()
    Store(uri, results).assert_complete(["aa"])


def test_a_cell_retried_in_a_smaller_pack_replaces_its_failed_run(uri: str, results: ResultsDir) -> None:
    rows = [trial(identity("aa")), {**trial(identity("bb", seed=1)), "status": "failed", "error": "diverged"}]
    results.write_part("p1", {"trials": pd.DataFrame(rows)})
    tracker = Tracker(results, "quick", uri)
    tracker.sync()
    kept = Store(uri, results).children["aa"].info.run_id
    results.forget_failed()
    write_pack(results, "p2", ["bb"])
    assert tracker.sync().logged == 1
    children = Store(uri, results).children
    assert children["aa"].info.run_id == kept
    assert {cell: run.info.status for cell, run in children.items()} == {"aa": "FINISHED", "bb": "FINISHED"}


def test_a_deleted_parent_is_made_again_with_all_cells(uri: str, results: ResultsDir) -> None:
    write_pack(results, "p1", ["aa"])
    Tracker(results, "quick", uri).sync()
    store = Store(uri, results)
    store.client.delete_run(store.parent.info.run_id)
    write_pack(results, "p2", ["bb"])
    assert Tracker(results, "quick", uri).sync().logged == 2
    store.assert_complete(["aa", "bb"])


def test_another_store_gets_everything_and_the_end(uri: str, results: ResultsDir, empty_store: Path) -> None:
    write_pack(results, "p1", ["aa"])
    tracker = Tracker(results, "quick", uri)
    tracker.start("name: quick\n")
    tracker.finish("FAILED")
    shutil.copy(empty_store, results.root / "other.db")
    other = f"sqlite:///{results.root / 'other.db'}"
    MlflowClient(other).create_experiment(EXPERIMENT, artifact_location=(results.root / "other").as_uri())
    assert Tracker(results, "quick", other).sync().logged == 1
    Store(other, results).assert_complete(["aa"])
    assert Store(other, results).parent.info.status == "FAILED"
    assert Tracker(results, "quick", uri).sync().logged == 0


# ---------------------------------------------------------------------- a server that comes and goes


class PlainServer(Server):
    """`mlflow server` over one sqlite file, with artifacts through the server."""

    def _command(self) -> list[str]:
        places = ["--backend-store-uri", f"sqlite:///{self._folder / 'server.db'}"]
        places += ["--artifacts-destination", str(self._folder / "artifacts")]
        network = ["--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"]
        return [sys.executable, "-m", "mlflow", "server", *places, *network]


@pytest.fixture
def server(tmp_path: Path, empty_store: Path) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copy(empty_store, folder / "server.db")
    server = PlainServer(folder)
    yield server
    server.kill()


def test_a_server_that_goes_and_comes_back_misses_nothing(
    server: Server,
    results: ResultsDir,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracking, "_PAUSE_S", 3600.0)  # longer than a server takes to start on a busy machine
    caplog.set_level(logging.WARNING, "prefine_ray.tracking.tracker")
    tracker = Tracker(results, "quick", server.url)
    tracker.start("name: quick\n")  # the server is not there yet
    write_pack(results, "p1", ["aa", "bb"])
    report = tracker.sync()
    assert (report.logged, report.missing) == (0, 2)
    assert str(report).startswith("0 cells sent to MLflow; 2 are missing: MlflowException: ")
    assert len(caplog.records) == 1  # one warning for the whole outage
    assert f"prefine sync {results.root}" in caplog.text

    server.start()
    tracker.update()  # leaves the server alone for a while
    assert MlflowClient(server.url).get_experiment_by_name(EXPERIMENT) is None
    assert tracker.sync().logged == 2
    store = Store(server.url, results)
    store.assert_complete(["aa", "bb"])
    assert store.parent.info.status == "RUNNING"
    check_eight_at_once(server, tmp_path)

    server.kill()
    write_pack(results, "p2", ["cc"])
    tracker.update()
    assert tracker.sync().missing == 1
    tracker.finish("FINISHED")
    assert len(caplog.records) == 2

    server.start()
    assert Tracker(results, "quick", server.url).sync().logged == 1  # as `prefine sync`
    store.assert_complete(["aa", "bb", "cc"])
    assert store.parent.info.status == "FINISHED"
    assert store.artifacts(store.parent) == ["config.yaml"]


def check_eight_at_once(server: Server, tmp_path: Path) -> None:
    """Eight sweeps send to one server at the same time."""
    folders = [ResultsDir(tmp_path / f"sweep{i}") for i in range(8)]
    for folder in folders:
        write_pack(folder, "p1", [f"{folder.root.name}-{i}" for i in range(2)])
    with ThreadPoolExecutor(8) as pool:
        reports = list(pool.map(lambda folder: Tracker(folder, folder.root.name, server.url).sync(), folders))
    assert [report.logged for report in reports] == [2] * 8
    for folder in folders:
        Store(server.url, folder).assert_complete([f"{folder.root.name}-{i}" for i in range(2)])


def test_an_update_does_not_hold_the_sweep_up(uri: str, results: ResultsDir, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Tracker(results, "quick", uri)
    tracker.start("")
    begun, may_send, whole = threading.Event(), threading.Event(), Upload.run

    def slow(self: Upload, config: str) -> None:
        begun.set()
        if not may_send.wait(60):
            raise TimeoutError("the sweep waits for MLflow")
        whole(self, config)

    monkeypatch.setattr(Upload, "run", slow)
    write_pack(results, "p1", ["aa", "bb"])
    tracker.update()
    assert begun.wait(60)
    tracker.update()  # while one is under way there is no second one
    assert [thread.name for thread in threading.enumerate()].count(tracking.SENDER) == 1
    may_send.set()
    assert tracker.sync().logged == 0  # it waits for the update, which sent everything
    Store(uri, results).assert_complete(["aa", "bb"])


# ---------------------------------------------------------------------- the local store and its pages


def test_where_the_store_is(results: ResultsDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(results) == f"sqlite:///{results.root / 'mlflow' / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@tracking:5000")
    assert Tracker(results, "quick").uri == "http://user:secret@tracking:5000"
    assert mask(tracking_uri(results)) == "http://tracking:5000"


QUIET = """
import sys
import prefine_ray.tracking.tracker
assert not {"mlflow", "torch"} & set(sys.modules), "importing prefine_ray.tracking.tracker is slow"
from prefine_ray.results.folder import ResultsDir
tracker = prefine_ray.tracking.tracker.Tracker(ResultsDir(sys.argv[1]), "quick")
tracker.start("name: quick")
tracker.finish("FINISHED")
"""


def heed_interrupts() -> None:
    """A shell's background jobs, and with them their children, ignore Ctrl-C: this child does not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def have_ended(processes: list[int]) -> bool:
    return not any(map(title, processes))


def test_the_local_store_is_made_in_silence_and_shown(results: ResultsDir) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    write_pack(results, "p1", ["aa"])
    command = [sys.executable, "-c", QUIET, str(results.root)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    local = results.root / "mlflow"
    assert [path.name for path in local.glob("artifacts/*/artifacts/policy/*")] == ["aa.safetensors"]
    Store(f"sqlite:///{local / 'mlflow.db'}", results).assert_complete(["aa"])

    port = free_port()
    script = "import sys; from prefine_ray.results.folder import ResultsDir; "
    script += "from prefine_ray.tracking.mlflow_ui import serve; "
    script += "serve(ResultsDir(sys.argv[1]), int(sys.argv[2]))"
    command = [sys.executable, "-c", script, str(results.root), str(port)]
    options = {"stdout": subprocess.PIPE, "text": True, "preexec_fn": heed_interrupts}
    url = f"http://127.0.0.1:{port}"
    for ending in (signal.SIGINT, signal.SIGTERM):
        with subprocess.Popen(command, env=environment, **options) as pages:
            try:
                assert pages.stdout is not None
                assert url in pages.stdout.readline()
                wait_until_up(url, pages)
                assert Store(url, results).parent.info.run_name == "quick"
                started = tree(pages.pid)[1:]
            finally:
                pages.send_signal(ending)
            assert pages.wait(60) == 0
            assert started
            wait_for(partial(have_ended, started), "the end of MLflow's processes", 10)
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(f"{url}/health", timeout=5)


def test_pages_that_cannot_be_shown(
    results: ResultsDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ServeError, match="prefine sync"):
        serve(results, 5000)
    (results.root / "mlflow").mkdir(parents=True)
    (results.root / "mlflow" / "mlflow.db").touch()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        with pytest.raises(ServeError, match="choose another with --port"):
            serve(results, holder.getsockname()[1])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@tracking:5000")
    serve(results, 5000)
    assert capsys.readouterr().out == "MLflow runs at http://tracking:5000 (MLFLOW_TRACKING_URI)\n"


SECRETS = [("http://user:p@ss/word@127.0.0.1:9", "word"), ("http://127.0.0.1:9/x?token=abcdef99", "abcdef99")]


@pytest.mark.parametrize(("uri", "secret"), SECRETS)
def test_no_secret_of_the_address_is_shown(results: ResultsDir, caplog, uri: str, secret: str) -> None:
    write_pack(results, "p1", ["aa"])
    report = Tracker(results, "sweep", uri).sync()
    assert report.error
    shown = f"{report} {caplog.text} {[path.read_text() for path in results.root.rglob('*.json')]}"
    assert secret not in shown


def test_a_store_without_its_driver_is_one_line_and_the_sweep_continues(results: ResultsDir) -> None:
    write_pack(results, "p1", ["aa"])
    report = Tracker(results, "sweep", "mssql+pymssql://u:geheim@127.0.0.1/x").sync()
    assert "driver" in report.error
    assert "geheim" not in report.error


def test_a_damaged_part_is_named_and_the_others_are_sent(results: ResultsDir) -> None:
    for name, cells in (("p1", ["aa"]), ("p2", ["bb"])):
        write_pack(results, name, cells)
    path = results.part_path("trials", "p1")
    path.write_bytes(path.read_bytes()[:-40])
    report = Tracker(results, "sweep").sync()
    assert str(path) in report.error
    assert (report.logged, report.missing) == (1, 1)


def test_a_deleted_experiment_is_said_with_the_remedy(results: ResultsDir) -> None:
    from mlflow import MlflowClient

    write_pack(results, "p1", ["aa"])
    tracker = Tracker(results, "sweep")
    assert tracker.sync().error == ""
    client = MlflowClient(tracker.uri)
    client.delete_experiment(client.get_experiment_by_name(EXPERIMENT).experiment_id)
    write_pack(results, "p2", ["bb"])
    assert "mlflow experiments restore" in Tracker(results, "sweep").sync().error
