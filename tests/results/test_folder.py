import errno
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from filelock import FileLock

from prefine_ray.results.folder import (
    FolderInUseError,
    ResultsDir,
    StorageError,
    storage_message,
    storage_problem,
)


def rows(*cells: str, status: str = "finished") -> dict[str, pd.DataFrame]:
    """Rows of a pack; a cell is named by its seed, as "c2"."""
    common = [
        {
            "cell": cell,
            "method": "prefine",
            "task": "BallRun",
            "preferred": "best",
            "threshold": 20.0,
            "weight": 1.0,
            "seed": int(cell[1:]),
        }
        for cell in cells
    ]
    return {
        "trials": pd.DataFrame([{**row, "status": status} for row in common]),
        "episodes": pd.DataFrame([{**row, "stage": "finetuned", "episode": e} for row in common for e in (1, 0)]),
        "curves": pd.DataFrame([{**row, "step": 0} for row in common]),
    }


def test_parts_without_a_trials_file_are_invisible(tmp_path):
    results = ResultsDir(tmp_path)
    results.write_part("cut", {kind: frame for kind, frame in rows("c1").items() if kind != "trials"})
    assert results.read("episodes").empty
    results.write_part("whole", rows("c2"))
    assert results.read("episodes")["cell"].unique().tolist() == ["c2"]
    assert results.finished_cells() == {"c2"}
    results.write_part("cut", rows("c1"))
    assert results.finished_cells() == {"c1", "c2"}
    assert len(results.read("episodes")) == 4


def test_merge_keeps_the_cells_asked_for_in_a_fixed_order(tmp_path):
    first, second = ResultsDir(tmp_path / "1"), ResultsDir(tmp_path / "2")
    first.write_part("a", rows("c3", "c1"))
    first.write_part("b", rows("c2"))
    second.write_part("z", rows("c1"))
    second.write_part("y", rows("c2", "c3"))
    for results in (first, second):
        results.merge({"c3", "c1"})
    for kind in ("episodes", "trials", "curves"):
        one, two = (pd.read_parquet(results.root / f"{kind}.parquet") for results in (first, second))
        pd.testing.assert_frame_equal(one, two)
        assert one["cell"].unique().tolist() == ["c1", "c3"]
    assert pd.read_parquet(first.root / "episodes.parquet")["episode"].tolist() == [0, 1, 0, 1]


def test_packs_that_have_ended_since_are_merged_in(tmp_path):
    results = ResultsDir(tmp_path)
    results.merge_new()
    assert not results.merged_path("trials").exists()
    results.write_grid([{"cell": "c1"}, {"cell": "c2"}])
    results.write_part("a", rows("c1", "c9"))  # c9 is of an earlier grid
    results.merge_new()
    assert pd.read_parquet(tmp_path / "trials.parquet")["cell"].tolist() == ["c1"]
    written = (tmp_path / "trials.parquet").stat().st_mtime_ns
    results.merge_new()
    assert (tmp_path / "trials.parquet").stat().st_mtime_ns == written
    results.write_part("b", rows("c2"))
    results.merge_new()
    assert pd.read_parquet(tmp_path / "episodes.parquet")["cell"].unique().tolist() == ["c1", "c2"]


def test_a_cell_that_two_packs_hold_counts_once(tmp_path):
    results = ResultsDir(tmp_path)
    results.write_part("a", rows("c1"))
    results.write_part("b", rows("c1", "c2"))
    assert results.read("trials")["cell"].tolist() == ["c1", "c2"]


def test_failed_cells_are_forgotten(tmp_path):
    results = ResultsDir(tmp_path)
    results.write_part("good", rows("c1"))
    results.write_part("bad", rows("c2", "c3", status="failed"))
    assert results.finished_cells() == {"c1", "c2", "c3"}
    assert results.forget_failed() == 2
    assert results.finished_cells() == {"c1"}
    assert results.forget_failed() == 0


def test_a_failed_write_leaves_the_old_part_and_no_temporary(tmp_path):
    results = ResultsDir(tmp_path)
    results.write_part("a", rows("c1"))
    broken = rows("c1", "c2")
    broken["trials"]["error"] = [object(), object()]  # not writable as parquet
    with pytest.raises(Exception, match="object"):
        results.write_part("a", broken)
    assert results.finished_cells() == {"c1"}
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["a.parquet"] * 3


def test_an_empty_folder_has_no_rows(tmp_path):
    results = ResultsDir(tmp_path)
    assert results.read("trials").empty
    assert results.finished_cells() == set()
    results.merge({"c1"})
    assert not (tmp_path / "trials.parquet").exists()


def test_two_sweeps_do_not_share_a_folder(tmp_path):
    first, second = ResultsDir(tmp_path), ResultsDir(tmp_path)
    with first.lock(), pytest.raises(FolderInUseError, match="another sweep works in this folder"), second.lock():
        pass
    with ResultsDir(tmp_path).lock():
        pass


def test_the_one_who_works_in_a_folder_is_named_and_may_be_killed(tmp_path):
    hold = "import sys, time; from prefine_ray.results.folder import ResultsDir\n"
    hold += "with ResultsDir(sys.argv[1]).lock(): print('held', flush=True); time.sleep(600)"
    holder = subprocess.Popen([sys.executable, "-c", hold, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        named = f"process {holder.pid} on {re.escape(socket.gethostname())}"
        with pytest.raises(FolderInUseError, match=named), ResultsDir(tmp_path).lock():
            pass
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with ResultsDir(tmp_path).lock():
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()


@pytest.mark.parametrize("reason", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_used_without(tmp_path, monkeypatch, reason):
    def refuse(*arguments):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with ResultsDir(tmp_path).lock():
        ResultsDir(tmp_path).write_part("a", rows("c1"))
    assert ResultsDir(tmp_path).finished_cells() == {"c1"}


def test_a_failure_keeps_its_log(tmp_path):
    results = ResultsDir(tmp_path)
    cells = rows("c1", "c2")["trials"].drop(columns="status").to_dict("records")
    results.append_log("p", "lost, runs again")
    results.write_failure("p", cells, "Traceback (most recent call last):\nValueError: too few\n")
    trials = results.read("trials")
    assert trials["cell"].tolist() == ["c1", "c2"]
    assert set(trials["status"]) == {"failed"}
    assert set(trials["error"]) == {"ValueError: too few"}
    log = (tmp_path / trials["log"].iloc[0]).read_text()
    assert log.index("lost, runs again") < log.index("Traceback")


@pytest.mark.usefixtures("mounting")
def test_a_full_disk_is_one_clear_error_and_leaves_nothing_half_written(tmp_path):
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)], check=True)
    try:
        results = ResultsDir(tmp_path)
        results.write_part("a", rows("c1"))
        with pytest.raises(OSError, match="No space left"):
            (tmp_path / "filler").write_bytes(bytes(2**20))
        with pytest.raises(StorageError, match="make room and start the same command again"):
            results.write_part("b", rows("c2", "c3"))
        assert results.finished_cells() == {"c1"}
        (tmp_path / "filler").unlink()
        results.write_part("b", rows("c2", "c3"))
        assert results.finished_cells() == {"c1", "c2", "c3"}
        assert not list(tmp_path.rglob("parts/**/.*"))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (OSError(errno.ENOSPC, "x"), "No space left on device"),
        (OSError(errno.EROFS, "x"), "Read-only file system"),
        ("RayTaskError: OSError: [Errno 122] Disk quota exceeded: 'x'", "Disk quota exceeded"),
        (OSError(errno.ENOENT, "x"), ""),
        (ValueError("x"), ""),
    ],
)
def test_a_full_and_a_read_only_disk_are_told_from_other_errors(error, problem):
    assert storage_problem(error) == problem


def test_the_message_names_the_place_and_the_remedy(tmp_path):
    own = storage_message(tmp_path, "Read-only file system")
    assert own.startswith(f"{tmp_path}: Read-only file system. Finished cells are safe there; make it writable and")
    other = storage_message(tmp_path, "No space left on device", Path("/tmp/ray"))
    assert other.startswith(f"/tmp/ray: No space left on device. Finished cells are safe in {tmp_path}; make room and")
