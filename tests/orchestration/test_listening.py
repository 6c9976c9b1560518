"""What a local sweep listens on, compared with SECURITY.md; and the token's file."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import json, os, ray, psutil
from prefine_ray.orchestration import cluster
cluster.connect()
ray.get(ray.remote(lambda: os.getpid()).remote())
here = psutil.Process()
processes = [here, *here.children(recursive=True)]
found = [(p.name(), c.laddr.ip) for p in processes for c in p.net_connections("tcp") if c.status == "LISTEN"]
print("LISTEN" + json.dumps(found))
ray.shutdown()
"""


def test_a_local_sweep_listens_on_loopback_and_its_token_is_private(tmp_path: Path):
    left_out = ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    environment = {key: value for key, value in os.environ.items() if key not in left_out} | {"HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False, umask=0o022
    )
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("LISTEN")]
    found = json.loads(line.removeprefix("LISTEN"))
    assert found
    elsewhere = [entry for entry in found if entry[1] not in ("127.0.0.1", "::ffff:127.0.0.1", "::1")]
    assert not elsewhere, f"SECURITY.md says loopback only: {elsewhere}"
    token = tmp_path / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
