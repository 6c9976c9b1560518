"""MLflow as a view of a results folder: one parent run per sweep, one child run per cell.

The results folder is the truth (see `prefine_ray.results.folder`). What MLflow lacks is sent by the next
`Tracker.sync`, so neither an unavailable server nor a crash in the middle loses or doubles a run:

- the parent is found by the tag `prefine.sweep_id`, an id kept in the folder; children by the part they come from;
- a child gets its tags when it is created and its final status last, so a child still RUNNING is a half-logged one;
- logging the same values again changes nothing, because their time stamps derive from the child's start time.

In DIR/mlflow: the sqlite store (unless MLFLOW_TRACKING_URI names another), the id, and a record of what was sent.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tqdm import tqdm

from prefine_ray.core.checked_json import parse_json
from prefine_ray.core.errors import DamagedFileError, PrefineError
from prefine_ray.core.files import read_bytes, write_text
from prefine_ray.core.masking import encode_user, mask
from prefine_ray.results.folder import ResultsDir
from prefine_ray.tracking.cell_record import CellRows, count_cells, part_versions, read_part, text_digest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

EXPERIMENT = "prefine"
EndStatus = Literal["FINISHED", "KILLED", "FAILED"]

_log = logging.getLogger(__name__)
_BATCH = 900  # metrics per call; MLflow takes 1,000 metrics and parameters together
_ERROR_LIMIT = 5000  # characters of a tag
# MLflow's own retries are off: a repeated "create run" would make two. `sync` looks what is there and tries again.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
_ATTEMPTS = 2
_PAUSE_S = 60.0
_RECORD_BYTES = 2**26  # of the record at most
_EVERY_S = 5.0  # between two updates


class StoreError(PrefineError, RuntimeError):
    """MLflow's store cannot be used as it is; the message says the remedy."""


class ServeError(PrefineError, RuntimeError):
    """MLflow's pages cannot be shown; the message says the remedy."""


@dataclass(frozen=True)
class SyncReport:
    """What a sync did."""

    logged: int  # cells sent by this call
    missing: int  # cells in the results folder that MLflow may still lack
    error: str = ""  # why, if MLflow was unavailable

    def __str__(self) -> str:
        left = f"; {self.missing} are missing: {self.error}" if self.error else ""
        return f"{self.logged} cells sent to MLflow{left}"


@dataclass
class _Sent:
    """What one MLflow store has got."""

    parent: str = ""  # run id
    config: str = ""  # digest of the configuration's text
    status: str = ""
    parts: dict[str, str] = field(default_factory=dict)  # by name: the version of the part's `trials` file


@dataclass
class _Record:
    """The file in the results folder that saves asking the server; when it is lost, the server's tags decide."""

    status: str = ""  # of the sweep
    stores: dict[str, _Sent] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> _Record:
        try:
            content = parse_json(read_bytes(path, _RECORD_BYTES))
            record = cls(content["status"], {key: _Sent(**sent) for key, sent in content["stores"].items()})
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls()
        texts = [record.status]
        for sent in record.stores.values():
            if not isinstance(sent.parts, dict):
                return cls()
            texts += [sent.parent, sent.config, sent.status, *sent.parts.values()]
        return record if all(isinstance(text, str) for text in texts) else cls()

    def write(self, path: Path) -> None:
        write_text(path, json.dumps(asdict(self), indent=1))


class Tracker:
    """A view of a results folder in MLflow. An unavailable MLflow never raises: it warns, and catches up later."""

    def __init__(self, results: ResultsDir, sweep: str, uri: str | None = None):
        """Touches neither the folder nor the server.

        Args:
            results: the folder to show.
            sweep: name of the parent run.
            uri: of the MLflow store; by default MLFLOW_TRACKING_URI, else sqlite in the results folder.
        """
        self.results, self.sweep = results, sweep
        self.uri = encode_user(uri or tracking_uri(results))
        self._folder = results.root / "mlflow"
        self._is_local = self.uri == _local_uri(results)
        self._key = "local" if self._is_local else text_digest(self.uri)  # a URI may hold a password
        self._client: MlflowClient | None = None
        self._config = ""
        self._away = False
        self._damaged: list[str] = []  # parts that the latest sync could not read
        self._resting_until = 0.0  # on the monotonic clock

    def start(self, config_text: str) -> None:
        """Opens the parent run, again if the sweep is resumed, and sends what an earlier run could not."""
        self._config = config_text
        self._set_status("RUNNING")
        self.sync()

    def finish(self, status: EndStatus) -> None:
        """Ends the parent run, with tables/summary.* and plots/* of the results folder if they exist."""
        self._set_status(status)
        self.sync()

    def update(self) -> None:
        """Sends what is new while a sweep runs, at most every few seconds: looking takes longer the larger the sweep.

        A server that failed is left alone for a minute: one that does not answer at all takes half a minute per try,
        which would hold every trial up.
        """
        if time.monotonic() >= self._resting_until:
            self.sync()
            self._resting_until = max(self._resting_until, time.monotonic() + _EVERY_S)

    def sync(self) -> SyncReport:
        """Sends everything that the results folder has and MLflow lacks; cheap when that is nothing."""
        logged: set[str] = set()
        error = Exception()
        for _ in range(_ATTEMPTS):
            self._damaged = []
            try:
                with self._exclusive_record() as record:
                    self._push(record, logged)
                self._away, self._resting_until = False, 0.0
                return SyncReport(len(logged), len(self._damaged), "; ".join(self._damaged))
            except Exception as caught:  # whatever a store, its driver or the network raises: a sweep goes on
                error = caught
        missing = self._count_missing()
        reason = mask(_reason(error, self.uri), self.uri)
        if not self._away:
            _log.warning(
                "MLflow at %s is not taking results: %s. The sweep continues; `prefine sync %s` sends what is missing.",
                mask(self.uri),
                reason,
                self.results.root,
            )
        self._away, self._resting_until = True, time.monotonic() + _PAUSE_S
        return SyncReport(len(logged), missing, reason)

    # ------------------------------------------------------------------ the record

    @property
    def _record_path(self) -> Path:
        return self._folder / "sent.json"

    @contextmanager
    def _exclusive_record(self) -> Iterator[_Record]:
        """The record, while no other process (`prefine sync` beside a sweep) sends from this folder."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield _Record.read(self._record_path)

    def _set_status(self, status: str) -> None:
        try:
            with self._exclusive_record() as record:
                record.status = status
                self._sent(record).status = ""
                record.write(self._record_path)
        except OSError as error:
            _log.warning("cannot write %s: %s", self._record_path, error)

    def _sent(self, record: _Record) -> _Sent:
        if self._is_local and not (self._folder / "mlflow.db").exists():
            record.stores.pop(self._key, None)  # the store was deleted
        return record.stores.setdefault(self._key, _Sent())

    def _fresh_parts(self, sent: _Sent) -> dict[str, str]:
        versions = part_versions(self.results)
        return {name: version for name, version in versions.items() if sent.parts.get(name) != version}

    def _count_missing(self) -> int:
        fresh = self._fresh_parts(self._sent(_Record.read(self._record_path)))
        count = 0
        for name in fresh:
            with suppress(DamagedFileError):
                count += count_cells(self.results, name)
        return count

    # ------------------------------------------------------------------ sending

    def _push(self, record: _Record, logged: set[str]) -> None:
        """Brings the store up to date; adds the names of the cells that it sent to `logged`."""
        sent = self._sent(record)
        config = self._config or (self.results.config_path.read_text() if self.results.config_path.exists() else "")
        fresh = self._fresh_parts(sent)
        if sent.parent and not fresh and sent.status == record.status and sent.config == text_digest(config):
            return
        client = self._client = self._client or _connect(self.uri)
        experiment = self._experiment(client)
        sent = self._open_parent(client, experiment, record)
        if sent.config != text_digest(config):
            client.log_text(sent.parent, config, "config.yaml")
            sent.config = text_digest(config)
            record.write(self._record_path)
        fresh = self._fresh_parts(sent)  # all of them if the parent is new
        bar = tqdm(fresh.items(), "MLflow", unit="pack", delay=5, leave=False, disable=len(fresh) < 2)
        for name, version in bar:
            try:
                self._send_part(client, experiment, sent.parent, name, logged)
            except DamagedFileError as error:
                self._damaged.append(str(error))  # the others are sent
                continue
            sent.parts[name] = version
            record.write(self._record_path)
        if sent.status != record.status:
            self._end_parent(client, sent.parent, record.status)
            sent.status = record.status
            record.write(self._record_path)

    def _experiment(self, client: MlflowClient) -> str:
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is not None and found.lifecycle_stage == "deleted":
            raise StoreError(
                f"its experiment {EXPERIMENT!r} was deleted; bring it back with `mlflow experiments restore "
                f"--experiment-id {found.experiment_id}` (MLFLOW_TRACKING_URI as here), or remove it for good with "
                "`mlflow gc`"
            )
        if found is not None:
            return found.experiment_id
        artifacts = (self._folder / "artifacts").resolve().as_uri() if self._is_local else None
        return client.create_experiment(EXPERIMENT, artifact_location=artifacts)  # fails if another was faster

    def _open_parent(self, client: MlflowClient, experiment: str, record: _Record) -> _Sent:
        """Finds or creates the parent run and shows it as running if the sweep is."""
        sent, sweep_id = self._sent(record), self._sweep_id()
        found = _search(client, experiment, {"prefine.sweep_id": sweep_id})
        parent = next((run for run in found if run.info.run_id == sent.parent), found[0] if found else None)
        if parent is None:
            tags = {"prefine.sweep_id": sweep_id, "prefine.sweep": self.sweep}
            parent = client.create_run(experiment, tags=tags, run_name=self.sweep)
            record.status = record.status or "FINISHED"
        record.status = record.status or parent.info.status
        if parent.info.run_id != sent.parent:
            record.stores[self._key] = sent = _Sent(parent=parent.info.run_id)
        if record.status == "RUNNING" and sent.status != "RUNNING":
            client.update_run(sent.parent, status="RUNNING", name=self.sweep)
            sent.status = "RUNNING"
        record.write(self._record_path)
        return sent

    def _sweep_id(self) -> str:
        path = self._folder / "sweep_id"
        if not path.exists():
            write_text(path, uuid.uuid4().hex)
        return path.read_text().strip()

    def _end_parent(self, client: MlflowClient, parent: str, status: str) -> None:
        for folder, pattern in (("tables", "summary.*"), ("plots", "*")):
            for path in sorted((self.results.root / folder).glob(pattern)):
                client.log_artifact(parent, str(path), folder)
        client.set_terminated(parent, status)

    def _send_part(self, client: MlflowClient, experiment: str, parent: str, part: str, logged: set[str]) -> None:
        """Makes the child runs of a part those of its rows: completes, adds, and deletes those of a retried cell."""
        cells = read_part(self.results, part)
        complete: set[str] = set()
        half: dict[str, Run] = {}
        for run in _search(client, experiment, {"mlflow.parentRunId": parent, "prefine.part": part}):
            name = run.data.tags["prefine.cell"]
            is_current = name in cells and run.data.tags["prefine.row"] == cells[name].digest
            if not is_current or name in complete or name in half:
                client.delete_run(run.info.run_id)
            elif run.info.status == "RUNNING":
                half[name] = run
            else:
                complete.add(name)
        tags = {"mlflow.parentRunId": parent, "prefine.part": part, "prefine.sweep": self.sweep}
        for name, cell in cells.items():
            if name not in complete:
                self._fill_child(client, half.get(name) or _create_child(client, experiment, cell, tags), cell)
                logged.add(name)

    def _fill_child(self, client: MlflowClient, run: Run, cell: CellRows) -> None:
        """Everything of a child but its tags; may be done again after a crash."""
        from mlflow.entities import Param

        run_id, start_ms = run.info.run_id, run.info.start_time
        metrics = _timed_metrics(cell, start_ms)
        client.log_batch(run_id, metrics[:_BATCH], [Param(key, value) for key, value in cell.params().items()])
        for first in range(_BATCH, len(metrics), _BATCH):
            client.log_batch(run_id, metrics[first : first + _BATCH])
        policy = self.results.policy_path(cell.trial["cell"])
        if policy.exists():
            client.log_artifact(run_id, str(policy), "policy")
        client.set_terminated(run_id, "FAILED" if cell.failed else "FINISHED", start_ms + cell.duration_ms)


def _create_child(client: MlflowClient, experiment: str, cell: CellRows, tags: Mapping[str, str]) -> Run:
    own = {"prefine.cell": cell.trial["cell"], "prefine.row": cell.digest}
    if cell.failed:
        own["prefine.error"] = str(cell.trial["error"])[-_ERROR_LIMIT:]
    return client.create_run(experiment, cell.ended_ms - cell.duration_ms, {**tags, **own}, cell.label)


def _timed_metrics(cell: CellRows, start_ms: int) -> list[Metric]:
    """The cell's metrics with time stamps spread over its share of wall-clock time, the same at every call."""
    from mlflow.entities import Metric

    metrics = cell.metrics()
    last = max([step for _, step in metrics], default=0) or 1
    return [
        Metric(key, value, start_ms + cell.duration_ms * step // last, step) for (key, step), value in metrics.items()
    ]


def tracking_uri(results: ResultsDir) -> str:
    """MLFLOW_TRACKING_URI, or where it is not set a sqlite store in the results folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _local_uri(results)


def serve(results: ResultsDir, port: int = 5000) -> None:
    """Shows MLflow's pages of a results folder on 127.0.0.1 until Ctrl-C (or SIGTERM), which ends all its processes.

    A server that runs already is named only.

    Raises:
        ServeError: the folder has no MLflow store, or the port is taken.
    """
    uri = encode_user(tracking_uri(results))
    if uri.startswith("http"):
        print(f"MLflow runs at {mask(uri)} (MLFLOW_TRACKING_URI)")
        return
    store = results.root / "mlflow" / "mlflow.db"
    if uri == _local_uri(results) and not store.exists():
        raise ServeError(f"{store}: no runs here yet; `prefine sync {results.root}` sends results to MLflow")
    _check_port(port)
    apply_settings()
    os.environ["MLFLOW_BACKEND_STORE_URI"] = uri  # not as an option: it may hold a password, which ps would show
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command = [sys.executable, "-m", "mlflow", "server", *options, "--uvicorn-opts", "--log-level warning"]
    print(f"MLflow opens at http://127.0.0.1:{port} in a few seconds; Ctrl-C ends it", flush=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server = subprocess.Popen(command, start_new_session=True)
    try:
        server.wait()
    except KeyboardInterrupt:
        pass
    finally:
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def apply_settings() -> None:
    """Bounds MLflow's waiting and stops its printing; what the user has set in the environment stays."""
    for key, value in _SETTINGS.items():
        os.environ.setdefault(key, value)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings hold addresses with their passwords


def _connect(uri: str) -> MlflowClient:
    """A client, after making sure that a database server answers: MLflow would wait 100 s for one."""
    apply_settings()
    if uri.startswith("sqlite") and set("?#%") & set(uri):
        raise StoreError("the path of its sqlite file has one of ? # %; choose another --results, or a server")
    import sqlalchemy
    from mlflow import MlflowClient

    if uri.startswith(("postgresql", "mysql", "mssql")):
        sqlalchemy.create_engine(uri).connect().close()
    return MlflowClient(uri)


def _reason(error: Exception, uri: str) -> str:
    """Why a store takes nothing, in one line, with the remedy where it is known."""
    if isinstance(error, StoreError):
        return str(error)
    first = f"{type(error).__name__}: {error}".splitlines()[0]
    if isinstance(error, ModuleNotFoundError):
        return f"{first}; {uri.partition(':')[0]} needs this driver: install it beside prefine-ray"
    return first


def _search(client: MlflowClient, experiment: str, tags: Mapping[str, str]) -> list[Run]:
    """All runs that have these tags, oldest first."""
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    search = partial(client.search_runs, [experiment], query, order_by=["attributes.start_time"])
    page = search()
    runs = list(page)
    while page.token:
        page = search(page_token=page.token)
        runs += page
    return runs


def _local_uri(results: ResultsDir) -> str:
    return f"sqlite:///{(results.root / 'mlflow' / 'mlflow.db').resolve()}"


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ServeError(f"port {port} of 127.0.0.1 is taken; choose another with --port") from error
