import hashlib

import pytest

from prefine_ray.core.files import MissingFileError, atomic_path, file_digest, write_bytes, write_text


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "one")
    write_text(path, "zwölf")
    assert path.read_bytes() == "zwölf".encode()
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.parquet"
    write_bytes(path, b"old")

    def half_written():
        with atomic_path(path) as temporary:
            assert (temporary.parent, temporary.suffix) == (tmp_path, ".parquet")
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_written()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stands_until_the_end(tmp_path):
    path = tmp_path / "a"
    write_bytes(path, b"old")
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_digest_is_of_the_content(tmp_path):
    content = b"x" * (2**20 + 5)
    write_bytes(tmp_path / "a", content)
    write_bytes(tmp_path / "b", content[:-1] + b"y")
    assert file_digest(tmp_path / "a") == hashlib.sha256(content).hexdigest()[:16]
    assert file_digest(tmp_path / "a") != file_digest(tmp_path / "b")
    with pytest.raises(MissingFileError, match="there is no such file"):
        file_digest(tmp_path / "c")
