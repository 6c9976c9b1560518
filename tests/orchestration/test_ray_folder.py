"""The folder of a Ray of this machine: paths that are too long, places that cannot be written."""

from __future__ import annotations

import pytest

from prefine_ray.core.errors import PrefineError
from prefine_ray.orchestration.session.folder import choose_folder
from prefine_ray.orchestration.session.guard import folder_problem


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_ray_tmpdir_comes_first(variables):
    variables.setenv("TMPDIR", "/var/tmp")
    assert choose_folder() == "/var/tmp/ray"
    variables.setenv("RAY_TMPDIR", "/tmp/short")
    assert choose_folder() == "/tmp/short/ray"


def test_a_long_tmpdir_is_not_used_for_sockets(variables, capsys):
    variables.setenv("TMPDIR", "/tmp/" + "x" * 40)
    assert choose_folder() == "/tmp/ray"
    assert "too long" in capsys.readouterr().out


def test_a_long_ray_tmpdir_is_refused(variables):
    variables.setenv("RAY_TMPDIR", "/tmp/" + "x" * 40)
    with pytest.raises(PrefineError, match=r"RAY_TMPDIR=/tmp/x+: too long .* at most \d\d characters"):
        choose_folder()


def test_a_place_that_cannot_be_written_is_refused(variables):
    variables.setenv("RAY_TMPDIR", "/proc/self")  # nobody makes folders there
    with pytest.raises(PrefineError, match="cannot be written; set RAY_TMPDIR"):
        choose_folder()


def test_a_folder_with_room_is_no_problem(tmp_path):
    assert folder_problem(tmp_path) == ""
