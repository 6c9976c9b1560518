"""Packs that were found whole are not read again until one of their files changes."""

import os
import time

import pytest

from prefine_ray.results import folder as folder_module
from prefine_ray.results.folder import ResultsDir
from tests.results.test_folder import rows

LONG_AGO_NS = 10**18


@pytest.fixture
def results(tmp_path) -> ResultsDir:
    """Two packs of old files, of which the first has a policy."""
    results = ResultsDir(tmp_path)
    results.policy_path("c1").parent.mkdir()
    results.policy_path("c1").write_bytes(b"weights")
    results.write_part("a", rows("c1", "c2"), policies=["c1"])
    results.write_part("b", rows("c3"))
    for path in tmp_path.rglob("*.*"):
        os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))
    assert results.find_new_damages() == []
    return results


def read_packs(results: ResultsDir, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The packs that looking for new damages reads."""
    looked_at = []
    whole = ResultsDir._damages_of

    def noting(self: ResultsDir, name: str):
        looked_at.append(name)
        return whole(self, name)

    with monkeypatch.context() as patched:
        patched.setattr(folder_module.ResultsDir, "_damages_of", noting)
        results.find_new_damages()
    return looked_at


def test_what_has_not_changed_is_not_read_again(results, monkeypatch):
    assert read_packs(results, monkeypatch) == []
    results.write_part("b", rows("c3", "c4"))
    assert read_packs(results, monkeypatch) == ["b"]


def test_a_pack_that_has_just_changed_is_read_again_for_it_may_change_within_the_same_tick(results, monkeypatch):
    in_a_minute = time.time_ns() + 60 * 10**9
    os.utime(results.part_path("trials", "b"), ns=(in_a_minute, in_a_minute))
    assert [read_packs(results, monkeypatch) for _ in range(2)] == [["b"], ["b"]]


@pytest.mark.parametrize("change", ["altered", "missing", "part cut", "condition added"])
def test_a_change_of_any_file_is_seen(results, monkeypatch, change):
    policy, part = results.policy_path("c1"), results.part_path("curves", "a")
    if change == "altered":
        policy.write_bytes(b"Weights")
    elif change == "missing":
        policy.unlink()
    elif change == "part cut":
        part.write_bytes(part.read_bytes()[:-9])
    else:
        results.write_conditions("a", "reused", rows("c1")["episodes"])
        assert read_packs(results, monkeypatch) == ["a"]
        return
    (damage,) = results.find_new_damages()
    assert str(part if change == "part cut" else policy) in damage.problem
    assert results.find_new_damages() == [damage]  # as long as it is there


def test_a_record_that_is_no_record_is_ignored(results, monkeypatch):
    for content in ("", "[]", '{"a": 1}', '{"a": {"looks": 3, "policies": []}}', "{"):
        results.checked_path.write_text(content)
        assert read_packs(results, monkeypatch) == ["a", "b"]


def test_a_read_only_folder_is_no_error(results, monkeypatch):
    results.checked_path.unlink()
    results.cache_folder.rmdir()
    results.cache_folder.write_text("a file in the place of the folder")
    assert read_packs(results, monkeypatch) == ["a", "b"]
