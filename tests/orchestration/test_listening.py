"""What a local sweep listens on, compared with SECURITY.md; the token's file; and what its workers inherit."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, os, ray, psutil
from prefine_ray.orchestration import cluster
names, before = list(cluster.ONE_THREAD), dict(os.environ)
cluster.connect()
threads = ray.get(ray.remote(lambda: [os.environ[name] for name in names]).remote())
kept = [os.environ.get(name) == before.get(name) for name in names]
here = psutil.Process()
processes = [here, *here.children(recursive=True)]
found = [(p.name(), c.laddr.ip) for p in processes for c in p.net_connections("tcp") if c.status == "LISTEN"]
print("LISTEN" + json.dumps([found, threads, kept]))
ray.shutdown()
"""


def test_a_local_sweep_listens_on_loopback_its_token_is_private_and_its_workers_have_one_thread(tmp_path: Path):
    left_out = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "MKL_NUM_THREADS")
    environment = {key: value for key, value in os.environ.items() if key not in left_out}
    environment |= {"HOME": str(tmp_path), "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False, umask=0o022
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("LISTEN")]
    found, threads, kept = json.loads(line.removeprefix("LISTEN"))
    assert threads == ["1", "1", "1"]  # whatever the user's are
    assert all(kept)  # in the driver
    assert found
    elsewhere = [entry for entry in found if entry[1] not in ("127.0.0.1", "::ffff:127.0.0.1", "::1")]
    assert not elsewhere, f"SECURITY.md says loopback only: {elsewhere}"
    token = tmp_path / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
