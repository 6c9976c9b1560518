"""MLflow's runs of a sweep: the parent run, and the child runs of one part of the results.

- The parent is found by the tag `prefine.sweep_id`, an id kept in the results folder; children by their part.
- A child gets its tags when it is created and its final status last, so a child still RUNNING is a half-logged one.
- Logging the same values again changes nothing, because their time stamps derive from the child's start time.
- Rows that come later (evaluation under other conditions) are added to a child that has ended.
"""

from __future__ import annotations

import getpass
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from prefine_ray.core.checked_yaml import parse_yaml
from prefine_ray.core.provenance import commit
from prefine_ray.results.folder import ResultsDir
from prefine_ray.tracking.cell_record import CellRows, flat
from prefine_ray.tracking.models import Headline, Models

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric, Run

_log = logging.getLogger(__name__)
_BATCH = 900  # metrics per call; MLflow takes 1,000 metrics and parameters together
_UNKNOWN_TO_SERVER = (404, 405, 501)  # HTTP: an address that an older server has not got
_PARAMS = 90  # parameters per call, of which MLflow takes 100
_PARAM_LIMIT = 5000  # characters of a value
_ERROR_LIMIT = 5000  # characters of a tag


@dataclass(frozen=True)
class SweepRuns:
    """The runs of one sweep in one experiment of a store."""

    client: MlflowClient
    experiment: str  # id
    sweep: str  # name of the parent run

    def find_or_create_parent(self, sweep_id: str, run_id: str) -> tuple[Run, bool]:
        """The parent run, that of `run_id` if there are several, and whether it was created by this call."""
        found = self._find({"prefine.sweep_id": sweep_id})
        for run in found:
            if run.info.run_id == run_id:
                return run, False
        if found:
            return found[0], False
        tags = {"prefine.sweep_id": sweep_id, "prefine.sweep": self.sweep, **_origin(commit())}
        return self.client.create_run(self.experiment, tags=tags, run_name=self.sweep), True

    def log_config(self, parent: str, config: str) -> None:
        """Shows the configuration as a file and as parameters, which keep the values that they had first."""
        from mlflow.entities import Param

        self.client.log_text(parent, config, "config.yaml")
        known = self.client.get_run(parent).data.params
        values = {key: str(value)[:_PARAM_LIMIT] for key, value in flat(parse_yaml(config) or {}).items()}
        new = [Param(key, value) for key, value in values.items() if key not in known and value]
        for first in range(0, len(new), _PARAMS):
            self.client.log_batch(parent, params=new[first : first + _PARAMS])

    def reopen_parent(self, parent: str) -> None:
        """Shows the parent run as running."""
        self.client.update_run(parent, status="RUNNING", name=self.sweep)

    def end_parent(self, parent: str, status: str, results: ResultsDir) -> None:
        """Ends the parent run, with report, tables, plots and the headline's values; then logs the picked policies."""
        from mlflow.entities import Metric

        headline = Headline.read(results)
        now = int(1000 * time.time())
        self._log_metrics(parent, [Metric(key, value, now, 0) for key, value in headline.values.items()])
        for folder, pattern in ((results.tables_folder, "summary.*"), (results.plots_folder, "*")):
            for path in sorted(folder.glob(pattern)):
                self.client.log_artifact(parent, str(path), folder.name)
        if results.report_page.exists():
            self.client.log_artifact(parent, str(results.report_page))
        self.client.set_terminated(parent, status)
        self._log_models(parent, headline, results)

    def register(self, parent: str, results: ResultsDir, prefix: str) -> list[str]:
        """Registers the picked policies as `PREFIX-...`; what was registered."""
        self._log_models(parent, headline := Headline.read(results), results)
        models = Models(self.client, self.experiment)
        return [models.register(policy, prefix) for policy in headline.policies]

    def _log_models(self, parent: str, headline: Headline, results: ResultsDir) -> None:
        """Logs the picked policies whose runs are there."""
        from mlflow.exceptions import MlflowException

        models = Models(self.client, self.experiment)
        for policy in headline.policies:
            cell = str(policy["cell"])
            for run in self._find({"mlflow.parentRunId": parent, "prefine.cell": cell})[:1]:
                try:
                    models.log(policy, results.policy_path(cell), run.info.run_id)
                except MlflowException as error:
                    if error.get_http_status_code() not in _UNKNOWN_TO_SERVER:
                        raise
                    return _log.warning("this MLflow server keeps no logged models (it is older than MLflow 3)")

    def send_part(self, parent: str, part: str, cells: Mapping[str, CellRows], results: ResultsDir) -> Iterator[str]:
        """Makes the child runs of a part those of its rows: completes, adds, and deletes those of a retried cell.

        Yields:
            The name of each cell once it is sent.
        """
        complete: dict[str, Run] = {}
        half: dict[str, Run] = {}
        for run in self._find({"mlflow.parentRunId": parent, "prefine.part": part}):
            name = run.data.tags["prefine.cell"]
            is_current = name in cells and run.data.tags["prefine.row"] == cells[name].digest
            if not is_current or name in complete or name in half:
                self.client.delete_run(run.info.run_id)
            elif run.info.status == "RUNNING":
                half[name] = run
            else:
                complete[name] = run
        tags = {"mlflow.parentRunId": parent, "prefine.part": part, "prefine.sweep": self.sweep}
        for name, cell in cells.items():
            if name not in complete:
                self._fill_child(half.get(name) or self._create_child(cell, tags), cell, results)
                yield name
            elif later := _lacking_metrics(complete[name], cell):
                self._log_metrics(complete[name].info.run_id, later)
                yield name

    def _create_child(self, cell: CellRows, tags: Mapping[str, str]) -> Run:
        own = {"prefine.cell": cell.trial["cell"], "prefine.row": cell.digest, **_origin(cell.trial.get("commit", ""))}
        if cell.failed:
            own["prefine.error"] = str(cell.trial["error"])[-_ERROR_LIMIT:]
        return self.client.create_run(self.experiment, cell.ended_ms - cell.duration_ms, {**tags, **own}, cell.label)

    def _fill_child(self, run: Run, cell: CellRows, results: ResultsDir) -> None:
        """Everything of a child but its tags; may be done again after a crash."""
        from mlflow.entities import Param

        run_id, start_ms = run.info.run_id, run.info.start_time
        metrics = _timed_metrics(cell, start_ms)
        params = [Param(key, value) for key, value in cell.params().items()]
        self.client.log_batch(run_id, metrics[:_BATCH], params)
        self._log_metrics(run_id, metrics[_BATCH:])
        if datasets := _datasets(cell):
            self.client.log_inputs(run_id, datasets)
        policy = results.policy_path(cell.trial["cell"])
        if policy.exists():
            self.client.log_artifact(run_id, str(policy), "policy")
        self.client.set_terminated(run_id, "FAILED" if cell.failed else "FINISHED", start_ms + cell.duration_ms)

    def _log_metrics(self, run_id: str, metrics: Sequence[Metric]) -> None:
        for first in range(0, len(metrics), _BATCH):
            self.client.log_batch(run_id, metrics[first : first + _BATCH])

    def _find(self, tags: Mapping[str, str]) -> list[Run]:
        """All runs that have these tags, oldest first."""
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        search = partial(self.client.search_runs, [self.experiment], query, order_by=["attributes.start_time"])
        page = search()
        runs = list(page)
        while page.token:
            page = search(page_token=page.token)
            runs += page
        return runs


def _timed_metrics(cell: CellRows, start_ms: int) -> list[Metric]:
    """The cell's metrics with time stamps spread over its share of wall-clock time, the same at every call."""
    from mlflow.entities import Metric

    metrics = cell.metrics()
    last = max([step for _, step in metrics], default=0) or 1
    return [
        Metric(key, value, start_ms + cell.duration_ms * step // last, step) for (key, step), value in metrics.items()
    ]


def _lacking_metrics(run: Run, cell: CellRows) -> list[Metric]:
    """The metrics whose names a child run has not got."""
    return [metric for metric in _timed_metrics(cell, run.info.start_time) if metric.key not in run.data.metrics]


def _origin(made_at: str) -> dict[str, str]:
    """MLflow's tags of who ran what."""
    tags = {"mlflow.source.type": "LOCAL", "mlflow.source.name": "prefine", "mlflow.source.git.commit": made_at}
    with suppress(KeyError, OSError):  # a container's user may have no name
        tags["mlflow.user"] = getpass.getuser()
    return {key: value for key, value in tags.items() if value not in ("", "unknown")}


def _datasets(cell: CellRows) -> list[DatasetInput]:
    """The data set that a cell was trained on, named by its task and the digest of the episodes that were drawn."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    digest = cell.made_by.get("data_digest", "")
    if not digest:
        return []
    drawn = {name: cell.trial[name] for name in ("preferred", "num_preferred", "threshold") if name in cell.trial}
    source = json.dumps({"task": cell.trial["task"], "draws": cell.trial.get("draws", "")})
    profile = json.dumps({name: value for name, value in drawn.items() if value == value})  # not NaN
    dataset = Dataset(cell.trial["task"], str(digest)[:36], "local", source, profile=profile)
    return [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
