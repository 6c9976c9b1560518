"""MLflow's runs of a sweep: the parent run, and the child runs of one part of the results.

- The parent is found by the tag `prefine.sweep_id`, an id kept in the results folder; children by their part.
- A child gets its tags when it is created and its final status last, so a child still RUNNING is a half-logged one.
- Logging the same values again changes nothing, because their time stamps derive from the child's start time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from prefine_ray.results.folder import ResultsDir
from prefine_ray.tracking.cell_record import CellRows

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

_BATCH = 900  # metrics per call; MLflow takes 1,000 metrics and parameters together
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
        tags = {"prefine.sweep_id": sweep_id, "prefine.sweep": self.sweep}
        return self.client.create_run(self.experiment, tags=tags, run_name=self.sweep), True

    def reopen_parent(self, parent: str) -> None:
        """Shows the parent run as running."""
        self.client.update_run(parent, status="RUNNING", name=self.sweep)

    def end_parent(self, parent: str, status: str, results: ResultsDir) -> None:
        """Ends the parent run, with the tables and plots of the results folder."""
        for folder, pattern in ((results.tables_folder, "summary.*"), (results.plots_folder, "*")):
            for path in sorted(folder.glob(pattern)):
                self.client.log_artifact(parent, str(path), folder.name)
        self.client.set_terminated(parent, status)

    def send_part(self, parent: str, part: str, cells: Mapping[str, CellRows], results: ResultsDir) -> Iterator[str]:
        """Makes the child runs of a part those of its rows: completes, adds, and deletes those of a retried cell.

        Yields:
            The name of each cell once it is sent.
        """
        complete: set[str] = set()
        half: dict[str, Run] = {}
        for run in self._find({"mlflow.parentRunId": parent, "prefine.part": part}):
            name = run.data.tags["prefine.cell"]
            is_current = name in cells and run.data.tags["prefine.row"] == cells[name].digest
            if not is_current or name in complete or name in half:
                self.client.delete_run(run.info.run_id)
            elif run.info.status == "RUNNING":
                half[name] = run
            else:
                complete.add(name)
        tags = {"mlflow.parentRunId": parent, "prefine.part": part, "prefine.sweep": self.sweep}
        for name, cell in cells.items():
            if name not in complete:
                self._fill_child(half.get(name) or self._create_child(cell, tags), cell, results)
                yield name

    def _create_child(self, cell: CellRows, tags: Mapping[str, str]) -> Run:
        own = {"prefine.cell": cell.trial["cell"], "prefine.row": cell.digest}
        if cell.failed:
            own["prefine.error"] = str(cell.trial["error"])[-_ERROR_LIMIT:]
        return self.client.create_run(self.experiment, cell.ended_ms - cell.duration_ms, {**tags, **own}, cell.label)

    def _fill_child(self, run: Run, cell: CellRows, results: ResultsDir) -> None:
        """Everything of a child but its tags; may be done again after a crash."""
        from mlflow.entities import Param

        run_id, start_ms = run.info.run_id, run.info.start_time
        metrics = _timed_metrics(cell, start_ms)
        self.client.log_batch(run_id, metrics[:_BATCH], [Param(key, value) for key, value in cell.params().items()])
        for first in range(_BATCH, len(metrics), _BATCH):
            self.client.log_batch(run_id, metrics[first : first + _BATCH])
        policy = results.policy_path(cell.trial["cell"])
        if policy.exists():
            self.client.log_artifact(run_id, str(policy), "policy")
        self.client.set_terminated(run_id, "FAILED" if cell.failed else "FINISHED", start_ms + cell.duration_ms)

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
