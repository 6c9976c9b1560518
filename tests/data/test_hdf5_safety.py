"""Data files that point elsewhere, claim what is not there, or hold what no simulator gives."""

import struct
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from prefine_ray.data.hdf5 import TrajectoryFileError, check_dsrl, read_dsrl, write_dsrl
from tests.makers import ball_run_episodes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_dsrl(tmp_path / "x.hdf5", ball_run_episodes())
    check_dsrl(tmp_path / "x.hdf5", "BallRun")
    return tmp_path / "x.hdf5"


def put(path: Path, name: str, edit) -> None:
    """Puts other values, or another kind of data set, in the place of one."""
    with h5py.File(path, "r+") as file:
        values = file[name][()]
        del file[name]
        edit(file, values)


def refused(path: Path, message: str) -> None:
    for read in (read_dsrl, check_dsrl):
        with pytest.raises(TrajectoryFileError, match=message) as caught:
            read(path, "BallRun")
        assert str(path) in str(caught.value)


def test_a_virtual_data_set_is_refused(path):
    def edit(file, values):
        layout = h5py.VirtualLayout(shape=values.shape, dtype=values.dtype)
        layout[:] = h5py.VirtualSource("gone.hdf5", "costs", shape=values.shape)
        file.create_virtual_dataset("costs", layout)

    put(path, "costs", edit)
    with h5py.File(path) as file:
        assert not file["costs"][()].any()  # every episode would look safe
    refused(path, "'costs' is kept in other files")


def test_external_storage_is_refused(path):
    def edit(file, values):
        file.create_dataset("costs", shape=values.shape, dtype="f4", external=[("gone.raw", 0, h5py.h5f.UNLIMITED)])

    put(path, "costs", edit)
    refused(path, "'costs' is kept in other files")


@pytest.mark.parametrize("link", [h5py.ExternalLink("/etc/passwd", "/x"), h5py.SoftLink("/rewards")])
def test_a_link_is_refused(path, link):
    put(path, "costs", lambda file, values: file.__setitem__("costs", link))
    refused(path, "'costs' is a link to elsewhere")


@pytest.mark.parametrize("options", [{}, {"chunks": (50,)}])
def test_what_was_never_written_does_not_read_as_zeros(path, options):
    put(path, "costs", lambda file, values: file.create_dataset("costs", values.shape, "f4", **options))
    refused(path, "'costs' was never written in full")


def test_a_packed_chunk_of_no_bytes_is_refused(path):
    """HDF5 itself ends the process where it unpacks one."""

    def edit(file, values):
        dataset = file.create_dataset("costs", values.shape, "f4", chunks=values.shape, compression="gzip")
        dataset.id.write_direct_chunk((0,), bytes(997))

    put(path, "costs", edit)
    entry = struct.pack("<IIQQ", 997, 0, 0, 0)  # of the list of chunks: size, skipped filters, row
    content = path.read_bytes()
    assert content.count(entry) == 1
    path.write_bytes(content.replace(entry, bytes(len(entry))))
    refused(path, "'costs' has a damaged chunk at row 0")


def test_a_plain_chunk_of_too_few_bytes_is_refused(path):
    """HDF5 itself reads on behind them."""

    def edit(file, values):
        dataset = file.create_dataset("costs", values.shape, "f4", chunks=values.shape, compression="gzip")
        dataset.id.write_direct_chunk((0,), b"short", filter_mask=1)

    put(path, "costs", edit)
    refused(path, "'costs' has a damaged chunk at row 0")


def test_chunks_that_gzip_cannot_shorten_are_read(path):
    def edit(file, values):
        dataset = file.create_dataset("costs", values.shape, "f4", chunks=values.shape, compression="gzip")
        dataset.id.write_direct_chunk((0,), values.astype("f4").tobytes(), filter_mask=1)

    expected = read_dsrl(path, "BallRun").costs
    put(path, "costs", edit)
    assert (read_dsrl(path, "BallRun").costs == expected).all()


def test_negative_and_summed_up_costs_are_refused(path, tmp_path):
    put(path, "costs", lambda file, values: file.create_dataset("costs", data=values - 1))
    refused(path, "costs 0 or more")
    write_dsrl(tmp_path / "y.hdf5", ball_run_episodes())
    put(tmp_path / "y.hdf5", "costs", lambda file, v: file.create_dataset("costs", data=np.arange(800) % 100 * 1.0))
    refused(tmp_path / "y.hdf5", "it is summed up")


def test_ends_that_are_missing_or_shifted_are_refused(path, tmp_path):
    def every_second(file, values):
        ends = np.flatnonzero(values)
        values[ends[::2]] = 0
        file.create_dataset("timeouts", data=values)
        del file["infos"]

    put(path, "timeouts", every_second)
    refused(path, "BallRun have at most 100: ends are missing")
    write_dsrl(tmp_path / "y.hdf5", ball_run_episodes())

    def shifted(file, values):
        rolled = np.roll(values, -3)
        rolled[-1] = 1
        file.create_dataset("timeouts", data=rolled)
        del file["infos"]

    put(tmp_path / "y.hdf5", "timeouts", shifted)
    with pytest.raises(TrajectoryFileError, match="does not fit the ends of episodes"):
        check_dsrl(tmp_path / "y.hdf5", "BallRun")


def test_actions_outside_are_clipped_with_a_count(path, caplog):
    def edit(file, values):
        values[3:5] = 1.5
        file.create_dataset("actions", data=values)

    put(path, "actions", edit)
    assert read_dsrl(path, "BallRun").actions.max() <= 1.0
    assert "the actions of 2 steps are outside of [-1, 1] and are clipped" in caplog.text


def test_an_altered_array_is_found_by_the_checksum(path):
    def edit(file, values):
        values[7] += 1e-3
        file.create_dataset("rewards", data=values)

    put(path, "rewards", edit)
    with pytest.raises(TrajectoryFileError, match="checksum"):
        check_dsrl(path, "BallRun")


def test_a_locked_file_is_no_damaged_one(path):
    code = f"from prefine_ray.data.hdf5 import read_dsrl; read_dsrl({str(path)!r})"
    with h5py.File(path, "r+"):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "x.hdf5: is locked by a process that writes it" in done.stderr
