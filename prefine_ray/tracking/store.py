"""An MLflow store: where it is, how it is reached, and why it cannot be used."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from prefine_ray.core.errors import PrefineError
from prefine_ray.core.password_mask import encode_user
from prefine_ray.results.folder import ResultsDir
from prefine_ray.tracking.cell_record import text_digest

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "prefine"

# MLflow's own retries are off: a repeated "create run" would make two. `Tracker.sync` checks what is there and retries.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


class StoreError(PrefineError, RuntimeError):
    """MLflow's store cannot be used as it is; the message says the remedy."""


class Store:
    """The store that shows a results folder."""

    def __init__(self, results: ResultsDir, uri: str | None = None):
        """Does not connect yet.

        Args:
            results: the folder to show.
            uri: of the store; by default MLFLOW_TRACKING_URI, else sqlite in the results folder.
        """
        self.uri = encode_user(uri or tracking_uri(results))
        self.is_local = self.uri == local_uri(results)
        self.key = "local" if self.is_local else text_digest(self.uri)  # a URI may hold a password
        self._results = results
        self._client: MlflowClient | None = None

    @property
    def was_deleted(self) -> bool:
        """Whether the results folder's own store is missing."""
        return self.is_local and not local_path(self._results).exists()

    def client(self) -> MlflowClient:
        """A client, the same one at every call.

        Raises:
            StoreError: the address cannot be used.
        """
        self._client = self._client or _connect(self.uri)
        return self._client

    def experiment(self) -> str:
        """The id of the experiment that holds all sweeps; made if there is none.

        Raises:
            StoreError: it was deleted.
        """
        client = self.client()
        found = client.get_experiment_by_name(EXPERIMENT)
        if found is not None and found.lifecycle_stage == "deleted":
            raise StoreError(
                f"its experiment {EXPERIMENT!r} was deleted; bring it back with `mlflow experiments restore "
                f"--experiment-id {found.experiment_id}` (MLFLOW_TRACKING_URI as here), or remove it for good with "
                "`mlflow gc`"
            )
        if found is not None:
            return found.experiment_id
        artifacts = (self._results.mlflow_folder / "artifacts").resolve().as_uri() if self.is_local else None
        return client.create_experiment(EXPERIMENT, artifact_location=artifacts)  # fails if another was faster


def tracking_uri(results: ResultsDir) -> str:
    """MLFLOW_TRACKING_URI, or where it is not set a sqlite store in the results folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or local_uri(results)


def local_path(results: ResultsDir) -> Path:
    """The sqlite file of a results folder's own store."""
    return results.mlflow_folder / "mlflow.db"


def local_uri(results: ResultsDir) -> str:
    """The address of a results folder's own store."""
    return f"sqlite:///{local_path(results).resolve()}"


def apply_settings() -> None:
    """Bounds MLflow's waiting and stops its printing; what the user has set in the environment stays."""
    for key, value in _SETTINGS.items():
        os.environ.setdefault(key, value)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings hold addresses with their passwords


def reason(error: Exception, uri: str) -> str:
    """Why a store takes nothing, in one line, with the remedy where it is known."""
    if isinstance(error, StoreError):
        return str(error)
    first = f"{type(error).__name__}: {error}".splitlines()[0]
    if isinstance(error, ModuleNotFoundError):
        return f"{first}; {uri.partition(':')[0]} needs this driver: install it beside prefine-ray"
    return first


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
