"""Short hashes of plain content."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def digest(content: Any, length: int = 16) -> str:
    """A short hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:length]
