"""Every damage of a finished pack is named, and its cells run again."""

import json

import pytest

from prefine_ray.core.errors import DamagedFileError
from prefine_ray.core.files import file_digest
from prefine_ray.results.fits import DIGESTS, SNAPSHOT, fit_folder
from prefine_ray.results.folder import ResultsDir
from tests.results.test_folder import rows


@pytest.fixture
def results(tmp_path) -> ResultsDir:
    """Two packs, of which the first has a policy."""
    results = ResultsDir(tmp_path)
    results.policy_path("c1").parent.mkdir()
    results.policy_path("c1").write_bytes(b"weights")
    results.write_part("a", rows("c1", "c2"), policies=["c1"])
    results.write_part("b", rows("c3"))
    assert results.find_damages() == []
    return results


@pytest.mark.parametrize("kind", ["trials", "episodes", "curves"])
@pytest.mark.parametrize("change", ["empty", "cut", "flip", "missing", "of another pack"])
def test_a_damaged_part_is_named_and_its_cells_run_again(results, kind, change):
    path = results.part_path(kind, "a")
    content = path.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    other = results.part_path(kind, "b").read_bytes()
    path.write_bytes({"empty": b"", "cut": content[:-50], "flip": bytes(flipped)}.get(change, other))
    if change == "missing":
        path.unlink()
    if kind == "trials" and change in ("missing", "of another pack"):
        return check_trials_elsewhere(results)
    (damage,) = results.find_damages()
    assert str(path) in damage.problem
    assert damage.cells == (frozenset() if kind == "trials" else {"c1", "c2"})
    assert results.forget_failed() == 0
    results.repair()
    assert results.finished_cells() == {"c3"}
    assert results.find_damages() == []
    results.write_part("a", rows("c1", "c2"), policies=["c1"])
    assert results.finished_cells() == {"c1", "c2", "c3"}
    return None


def check_trials_elsewhere(results: ResultsDir) -> None:
    """Without its own trials part a pack does not count."""
    results.repair()
    assert not results.finished_cells() & {"c1", "c2"}


@pytest.mark.parametrize("change", ["missing", "altered"])
def test_a_missing_or_altered_policy_is_named_and_its_cell_runs_again(results, change):
    path = results.policy_path("c1")
    path.write_bytes(b"Weights")
    if change == "missing":
        path.unlink()
    (damage,) = results.find_damages()
    assert str(path) in damage.problem
    results.repair()
    assert results.finished_cells() == {"c2", "c3"}


def test_a_damaged_part_does_not_stop_the_others_from_being_read(results, caplog):
    results.part_path("episodes", "a").write_bytes(b"PAR1")
    assert set(results.read("episodes")["cell"]) == {"c3"}
    assert "parts/episodes/a.parquet" in caplog.text


def test_a_damaged_grid_is_named(results):
    results.write_grid([{"cell": "c1", "task": "BallRun"}])
    path = results.root / "cells.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DamagedFileError, match=r"cells\.parquet"):
        results.read_grid()


def test_a_damaged_checkpoint_is_named_and_its_fit_begins_again(tmp_path):
    checkpoint = fit_folder(tmp_path) / "p" / "checkpoint_1"
    checkpoint.mkdir(parents=True)
    state = checkpoint / "state.safetensors"
    state.write_bytes(bytes(100))
    (checkpoint / DIGESTS).write_text(json.dumps({state.name: file_digest(state)}))
    snapshot = {"checkpoint_results": [{"checkpoint_dir_name": checkpoint.name}]}
    (checkpoint.parent / SNAPSHOT).write_text(json.dumps(snapshot))
    results = ResultsDir(tmp_path)
    assert results.find_damages() == []
    state.write_bytes(bytes(50))
    (damage,) = results.repair()
    assert damage.problem == f"{state}: was cut or altered since the checkpoint was written"
    assert not checkpoint.parent.exists()
    assert results.find_damages() == []
