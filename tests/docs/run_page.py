"""Runs the blocks of a page in order, in the working folder: `python run_page.py blocks.json`.

Blocks of Python share their names, as in one session; each block of shell has a shell of its own, which stops at the
first command that fails.
"""

import json
import subprocess
import sys
import traceback
from pathlib import Path


def run_all(blocks: list[list[str]]) -> int:
    """Runs [language, code] blocks; returns the number of the first that fails, from 1 on, 0 for none."""
    names = {"__name__": "__main__"}
    for number, (language, code) in enumerate(blocks, 1):
        print(f"--- block {number}\n{code}", flush=True)
        if language == "sh":
            if subprocess.run(["bash", "-euo", "pipefail", "-c", code]).returncode:
                return number
            continue
        try:
            exec(compile(code, f"<block {number}>", "exec"), names)
        except Exception:
            traceback.print_exc()
            return number
    return 0


if __name__ == "__main__":
    sys.path.insert(0, "")
    sys.exit(run_all(json.loads(Path(sys.argv[1]).read_text())))
