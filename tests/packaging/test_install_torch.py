"""scripts/install-torch.sh against two package indexes of stub wheels: PyPI's and that of builds for CPUs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from prefine_ray.core.requirements import read_requirements
from tests.faults.nodes import free_port

SCRIPT = Path(__file__).parents[2] / "scripts" / "install-torch.sh"
PINNED = next(str(one.specifier)[2:] for one in read_requirements() if one.name == "torch")
WITH_CUDA, FOR_CPUS = PINNED, f"{PINNED}+cpu"


def write_stub(index: Path, version: str) -> None:
    """A wheel of a torch that holds nothing, and the page that lists it."""
    folder = index / "torch"
    folder.mkdir(parents=True)
    info = f"torch-{version}.dist-info"
    file = f"torch-{version}-py3-none-any.whl"
    with zipfile.ZipFile(folder / file, "w") as wheel:
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    (folder / "index.html").write_text(f'<a href="{file.replace("+", "%2B")}">{file}</a>')


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address below which pypi/ and cpu/ lie."""
    root = tmp_path_factory.mktemp("indexes")
    write_stub(root / "pypi", WITH_CUDA)
    write_stub(root / "cpu", FOR_CPUS)
    handler = partial(SimpleHTTPRequestHandler, directory=str(root))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder


@pytest.fixture
def python(environment: Path) -> Path:
    """The interpreter of an environment without PyTorch."""
    for folder in environment.glob("lib/*/site-packages/torch-*.dist-info"):
        shutil.rmtree(folder)
    return environment / "bin" / "python"


def install(python: Path, indexes: str, cpu_index: str, path: str = "", **choice: str) -> subprocess.CompletedProcess:
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "TORCH"))}
    pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": f"{indexes}/pypi", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    own = {"TORCH_CPU_INDEX": cpu_index, "PATH": f"{path}{os.pathsep}{os.environ['PATH']}", **choice}
    return subprocess.run(
        [str(SCRIPT), str(python)], env=plain | pip | own, capture_output=True, text=True, check=False
    )


def installed(python: Path) -> str:
    code = "import importlib.metadata as m; print(m.version('torch'))"
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def unreachable() -> str:
    """An address where nothing listens."""
    return f"http://127.0.0.1:{free_port()}/cpu"


def gpu(folder: Path, found: bool) -> str:
    """A folder with the driver's tool, which lists a GPU or fails."""
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{'echo GPU 0' if found else 'exit 9'}\n")
    tool.chmod(0o755)
    return str(folder)


def test_without_a_gpu_the_build_for_cpus_is_taken(python, indexes, tmp_path):
    done = install(python, indexes, f"{indexes}/cpu", gpu(tmp_path, found=False))
    assert (done.returncode, done.stderr, installed(python)) == (0, "", FOR_CPUS)


def test_where_its_index_is_unreachable_pypis_comes_with_a_word(python, indexes, unreachable, tmp_path):
    done = install(python, indexes, unreachable, gpu(tmp_path, found=False))
    assert (done.returncode, installed(python)) == (0, WITH_CUDA)
    assert unreachable in done.stderr
    assert "3 GB to download" in done.stderr
    assert "TORCH=cpu make sweep" in done.stderr


def test_whoever_asks_for_cpus_does_not_get_gigabytes(python, indexes, unreachable):
    done = install(python, indexes, unreachable, TORCH="cpu")
    assert done.returncode == 1
    assert "TORCH=cuda make sweep" in done.stderr


def test_cuda_replaces_the_build_for_cpus(python, indexes):
    install(python, indexes, f"{indexes}/cpu", TORCH="cpu")
    assert install(python, indexes, f"{indexes}/cpu", TORCH="cuda").returncode == 0
    assert installed(python) == WITH_CUDA


def test_with_a_gpu_cuda_is_taken(python, indexes, tmp_path):
    done = install(python, indexes, f"{indexes}/cpu", gpu(tmp_path, found=True))
    assert (done.returncode, done.stderr, installed(python)) == (0, "", WITH_CUDA)


def test_another_choice_is_an_error(python, indexes):
    done = install(python, indexes, f"{indexes}/cpu", TORCH="rocm")
    assert done.returncode == 2
    assert "must be cpu or cuda" in done.stderr
