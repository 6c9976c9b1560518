"""Tables of rows: plain columns only, every altered bit found."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray.tune  # registers the extension type
from ray.data._internal.object_extensions.arrow import ArrowPythonObjectArray

from prefine_ray.core.errors import DamagedFileError
from prefine_ray.core.tables import read_notes, read_table, table_bytes, write_table

ROWS = pd.DataFrame(
    {"cell": ["a", "b"], "seed": [1, 2], "threshold": [1.0, np.nan], "terminated": [True, False], "loss": [0.5, 1.5]}
)


class Planted:
    """Runs a command when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return os.makedirs, (str(self.mark), 0o700, True)


def test_rows_and_notes_come_back(tmp_path):
    digest = write_table(tmp_path / "a.parquet", ROWS, {"episodes": "x"})
    pd.testing.assert_frame_equal(read_table(tmp_path / "a.parquet"), ROWS)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), ROWS)
    assert read_notes(tmp_path / "a.parquet") == {"episodes": "x", "sha256": digest}
    assert read_table(tmp_path / "a.parquet", ["seed"], digest).columns.tolist() == ["seed"]
    with pytest.raises(DamagedFileError, match="was replaced"):
        read_table(tmp_path / "a.parquet", sha256="0" * 64)


def test_a_column_that_unpickles_is_refused_and_runs_nothing(tmp_path):
    assert ray.tune.__name__ == "ray.tune"
    mark, path = tmp_path / "ran", tmp_path / "episodes.parquet"
    column = ArrowPythonObjectArray.from_objects([Planted(mark), Planted(mark)])
    pq.write_table(pa.table({"cell": pa.array(["a", "b"]), "return": column}), path)
    with pytest.raises(DamagedFileError, match=r"episodes\.parquet: has a column of an Arrow extension type"):
        read_table(path)
    assert not mark.exists()
    pd.read_parquet(path)["return"].tolist()  # the planted command is live: another reader runs it
    assert mark.exists()


@pytest.mark.parametrize(
    "column",
    [
        pa.array([[1], [2]]),
        pa.array([{"x": 1}, {"x": 2}]),
        pa.array([b"a", b"b"]),
        pa.array(["a", "b"]).dictionary_encode(),
        pa.array([1, 2], pa.timestamp("s")),
    ],
)
def test_columns_of_other_types_are_refused(tmp_path, column):
    pq.write_table(pa.table({"cell": pa.array(["a", "b"]), "loss": column}), tmp_path / "a.parquet")
    with pytest.raises(DamagedFileError, match="'loss' is of type"):
        read_table(tmp_path / "a.parquet")


def test_a_known_column_has_its_type(tmp_path):
    write_table(tmp_path / "a.parquet", ROWS.assign(seed=["1", "2"]))
    with pytest.raises(DamagedFileError, match="'seed' is of type string; a column of numbers is needed"):
        read_table(tmp_path / "a.parquet")


def test_what_pandas_says_of_itself_is_not_asked(tmp_path):
    metadata = {b"pandas": b'{"columns": [{"name": "loss", "numpy_type": "python_object()"}], "index_columns": ["x"]}'}
    pq.write_table(pa.table({"loss": [1.0]}).replace_schema_metadata(metadata), tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet").to_dict("list") == {"loss": [1.0]}


def test_every_altered_bit_is_found(tmp_path):
    content, path = table_bytes(ROWS), tmp_path / "a.parquet"
    for place in range(0, 8 * len(content), 7):
        altered = bytearray(content)
        altered[place // 8] ^= 1 << place % 8
        path.write_bytes(altered)
        with pytest.raises(DamagedFileError, match=r"a\.parquet"):
            read_table(path)
    for size in range(0, len(content), 41):
        path.write_bytes(content[:size])
        with pytest.raises(DamagedFileError, match=r"a\.parquet"):
            read_table(path)


def test_a_file_of_an_old_version_is_read_and_said_to_be_unverified(tmp_path, caplog):
    ROWS.to_parquet(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(read_table(tmp_path / "a.parquet"), ROWS)
    assert "has no checksum" in caplog.text
