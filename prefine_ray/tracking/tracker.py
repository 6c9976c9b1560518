"""MLflow as a view of a results folder: one parent run per sweep, one child run per cell.

The results folder is the truth (see `prefine_ray.results.folder`). What MLflow lacks is sent by the next
`Tracker.sync`, so neither an unavailable server nor a crash in the middle loses or doubles a run (see
`prefine_ray.tracking.runs`).

In DIR/mlflow: the sqlite store (unless MLFLOW_TRACKING_URI names another), the sweep's id, and a record of what was
sent.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import Any, Literal

from prefine_ray.core.password_mask import mask
from prefine_ray.results.folder import ResultsDir
from prefine_ray.tracking.sent_record import SentFile
from prefine_ray.tracking.store import Store, StoreError, reason
from prefine_ray.tracking.system_metrics import start_monitor, wants_system_metrics
from prefine_ray.tracking.upload import Upload, count_missing, sent_to

EndStatus = Literal["FINISHED", "KILLED", "FAILED"]

_log = logging.getLogger(__name__)
_ATTEMPTS = 2
_PAUSE_S = 60.0
_EVERY_S = 5.0  # between two updates
SENDER = "mlflow-sender"  # name of the thread that sends while a sweep runs


@dataclass(frozen=True)
class SyncReport:
    """What a sync did."""

    logged: int  # cells sent by this call
    missing: int  # cells in the results folder that MLflow may still lack
    error: str = ""  # why, if MLflow was unavailable

    def __str__(self) -> str:
        left = f"; {self.missing} are missing: {self.error}" if self.error else ""
        return f"{self.logged} cells sent to MLflow{left}"


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
        self._store, self._file = Store(results, uri), SentFile(results.mlflow_folder)
        self._config = ""
        self._away = False
        self._monitor: Any = None  # of the driver's machine
        self._resting_until = 0.0  # on the monotonic clock
        self._turn = threading.Lock()  # of one sync at a time
        self._sender: threading.Thread | None = None

    @property
    def uri(self) -> str:
        """The address of the MLflow store; it may hold a password."""
        return self._store.uri

    def start(self, config_text: str) -> None:
        """Opens the parent run, again if the sweep is resumed, and sends what an earlier run could not."""
        self._config = config_text
        self._set_status("RUNNING")
        self.sync()
        if wants_system_metrics() and not self._away:
            self._monitor = start_monitor(sent_to(self._store, self._file.read()).parent, self.uri)

    def finish(self, status: EndStatus) -> None:
        """Ends the parent run, with report, tables, plots and picked policies if they exist."""
        if self._monitor is not None:
            self._monitor.finish()
        self._set_status(status)
        self.sync()

    def register(self, prefix: str) -> list[str]:
        """Makes the picked policies, which have to be sent, versions of registered models; their names and versions.

        Args:
            prefix: the models are named `PREFIX-<task>-<kind>-<threshold>`.

        Raises:
            StoreError: the store does not take them, with the reason.
        """
        try:
            with self._file.exclusive() as record:
                return Upload(self.results, self.sweep, self._store, self._file, record).register(prefix)
        except Exception as error:  # whatever a store, its driver or the network raises
            why = mask(reason(error, self.uri), self.uri)
            raise StoreError(f"MLflow at {mask(self.uri)} registers no models: {why}") from None

    def update(self) -> None:
        """Begins to send what is new while a sweep runs, in a thread of its own: the sweep does not wait for MLflow.

        At most every few seconds, since looking takes longer the larger the sweep. A server that failed is left alone
        for a minute: one that does not answer at all takes half a minute per try. What a thread that is killed with
        its process leaves half done is completed by the next `sync`, as after any crash.
        """
        is_busy = self._sender is not None and self._sender.is_alive()
        if not is_busy and time.monotonic() >= self._resting_until:
            self._sender = threading.Thread(target=self._send, name=SENDER, daemon=True)
            self._sender.start()

    def _send(self) -> None:
        self.sync()
        self._resting_until = max(self._resting_until, time.monotonic() + _EVERY_S)

    def sync(self) -> SyncReport:
        """Sends everything that the results folder has and MLflow lacks; cheap when that is nothing.

        Waits for what an `update` has begun.
        """
        with self._turn:
            return self._sync()

    def _sync(self) -> SyncReport:
        logged: set[str] = set()
        error = Exception()
        for _ in range(_ATTEMPTS):
            try:
                with self._file.exclusive() as record:
                    upload = Upload(self.results, self.sweep, self._store, self._file, record)
                    try:
                        upload.run(self._config_text())
                    finally:
                        logged |= upload.sent_cells
                self._away, self._resting_until = False, 0.0
                return SyncReport(len(logged), len(upload.damages), "; ".join(upload.damages))
            except Exception as caught:  # whatever a store, its driver or the network raises: a sweep continues
                error = caught
        return self._report_outage(len(logged), error)

    def _report_outage(self, logged: int, error: Exception) -> SyncReport:
        """Warns, once for each outage, and lets the server rest."""
        missing = count_missing(self.results, sent_to(self._store, self._file.read()))
        why = mask(reason(error, self.uri), self.uri)
        if not self._away:
            _log.warning(
                "MLflow at %s is not taking results: %s. The sweep continues; `prefine sync %s` sends what is missing.",
                mask(self.uri),
                why,
                self.results.root,
            )
        self._away, self._resting_until = True, time.monotonic() + _PAUSE_S
        return SyncReport(logged, missing, why)

    def _config_text(self) -> str:
        path = self.results.config_path
        return self._config or (path.read_text() if path.exists() else "")

    def _set_status(self, status: str) -> None:
        try:
            with self._file.exclusive() as record:
                record.status = status
                sent_to(self._store, record).status = ""
                self._file.write(record)
        except OSError as error:
            _log.warning("cannot write %s: %s", self._file.path, error)
