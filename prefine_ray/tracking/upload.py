"""One attempt to bring an MLflow store up to date with a results folder."""

from __future__ import annotations

import time
import uuid

from tqdm import tqdm

from prefine_ray.core.errors import DamagedFileError
from prefine_ray.core.files import write_text
from prefine_ray.results.folder import ResultsDir
from prefine_ray.tracking.cell_record import count_cells, read_part, text_digest
from prefine_ray.tracking.runs import SweepRuns
from prefine_ray.tracking.sent_record import Sent, SentFile, SentRecord
from prefine_ray.tracking.store import Store

_WRITE_EVERY_S = 2.0  # the record names every part, so that writing it after each would take the square of their number


class Upload:
    """Sends what the record says a store lacks; says what it sent, also when an error ended it."""

    def __init__(self, results: ResultsDir, sweep: str, store: Store, file: SentFile, record: SentRecord):
        """Sends nothing yet.

        Args:
            results: the folder to show.
            sweep: name of the parent run.
            store: where to.
            file: of the record.
            record: what each store has got; kept up to date while sending.
        """
        self.sent_cells: set[str] = set()
        self.damages: list[str] = []  # of parts that could not be read
        self._results, self._sweep, self._store = results, sweep, store
        self._file, self._record = file, record

    def register(self, prefix: str) -> list[str]:
        """Makes the picked policies versions of registered models `PREFIX-...`; what they are. Raises as `run`."""
        runs = SweepRuns(self._store.client(), self._store.experiment(), self._sweep)
        return runs.register(sent_to(self._store, self._record).parent, self._results, prefix)

    def run(self, config: str) -> None:
        """Sends everything.

        Args:
            config: the configuration's text.

        Raises:
            Exception: whatever a store, its driver or the network raises.
        """
        sent, record = sent_to(self._store, self._record), self._record
        is_current = sent.config == text_digest(config)
        if sent.parent and is_current and sent.status == record.status and not fresh_parts(self._results, sent):
            return
        runs = SweepRuns(self._store.client(), self._store.experiment(), self._sweep)
        sent = self._open_parent(runs)
        if sent.config != text_digest(config):
            runs.log_config(sent.parent, config)
            sent.config = text_digest(config)
            self._file.write(record)
        self._send_parts(runs, sent)
        if sent.status != record.status:
            runs.end_parent(sent.parent, record.status, self._results)
            sent.status = record.status
            self._file.write(record)

    def _open_parent(self, runs: SweepRuns) -> Sent:
        """Finds or creates the parent run and shows it as running if the sweep is."""
        record, sent = self._record, sent_to(self._store, self._record)
        parent, is_new = runs.find_or_create_parent(_sweep_id(self._results), sent.parent)
        record.status = record.status or ("FINISHED" if is_new else parent.info.status)
        if parent.info.run_id != sent.parent:
            record.stores[self._store.key] = sent = Sent(parent=parent.info.run_id)
        if record.status == "RUNNING" and sent.status != "RUNNING":
            runs.reopen_parent(sent.parent)
            sent.status = "RUNNING"
        self._file.write(record)
        return sent

    def _send_parts(self, runs: SweepRuns, sent: Sent) -> None:
        fresh = fresh_parts(self._results, sent)  # all of them if the parent is new
        bar = tqdm(fresh.items(), "MLflow", unit="pack", delay=5, leave=False, disable=len(fresh) < 2)
        written = time.monotonic()
        try:
            for part, version in bar:
                try:
                    cells = read_part(self._results, part)
                except DamagedFileError as error:
                    self.damages.append(str(error))  # the others are sent
                    continue
                for cell in runs.send_part(sent.parent, part, cells, self._results):
                    self.sent_cells.add(cell)
                sent.parts[part] = version
                if time.monotonic() - written > _WRITE_EVERY_S:
                    self._file.write(self._record)
                    written = time.monotonic()
        finally:
            self._file.write(self._record)


def sent_to(store: Store, record: SentRecord) -> Sent:
    """What a store has got; nothing where it was deleted."""
    if store.was_deleted:
        record.stores.pop(store.key, None)
    return record.stores.setdefault(store.key, Sent())


def fresh_parts(results: ResultsDir, sent: Sent) -> dict[str, str]:
    """The versions of the parts that a store lacks or has in an older version, by name."""
    return {name: version for name, version in results.part_versions().items() if sent.parts.get(name) != version}


def count_missing(results: ResultsDir, sent: Sent) -> int:
    """The number of cells that a store may lack; without those of damaged parts."""
    count = 0
    for name in fresh_parts(results, sent):
        try:
            count += count_cells(results, name)
        except DamagedFileError:
            continue
    return count


def _sweep_id(results: ResultsDir) -> str:
    path = results.mlflow_folder / "sweep_id"
    if not path.exists():
        write_text(path, uuid.uuid4().hex)
    return path.read_text().strip()
