"""What the fuzzers share: alterations of files, what became of each case, and defects to be caught.

PREFINE_FUZZ_CASES sets the number of cases of each (CI: 200; `make fuzz`: 5,000).
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from prefine_ray.core.errors import DamagedFileError, PrefineError

CASES = int(os.environ.get("PREFINE_FUZZ_CASES", "200"))
LIMIT_S = 20.0
WRONG = ("wrongly accepted", "traceback", "file not named", "too slow")


class WronglyAcceptedError(Exception):
    """A reader took what it has to refuse; raised by the judges of the fuzzers."""


class Outcomes(Counter[str]):
    """How many cases ended how: "refused", "accepted", or one of WRONG; `examples` are of the latter."""

    def __init__(self) -> None:
        super().__init__()
        self.examples: list[str] = []

    @property
    def wrong(self) -> int:
        """Cases that show a defect."""
        return sum(self[name] for name in WRONG)

    def tell(self, name: str, capsys: object) -> None:
        """Prints the counts."""
        with capsys.disabled():  # type: ignore[attr-defined]
            print(f"\nfuzz {name}: {', '.join(f'{count} {how}' for how, count in sorted(self.items()))}")


def judge(call: Callable[[], object], name: str = "", limit: float = LIMIT_S) -> str:
    """What became of one case; `name` is what the message of a refusal has to hold."""
    started = time.monotonic()
    try:
        call()
        how = "accepted"
    except WronglyAcceptedError:
        how = "wrongly accepted"
    except PrefineError as error:
        how = "refused" if name in str(error) else "file not named"
    except (Exception, SystemExit):
        how = "traceback"
    return "too slow" if time.monotonic() - started > limit else how


def alterations(content: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Flips, cuts, doubled and removed stretches, random bytes, zeros; each differs from the content."""
    rng = np.random.default_rng(seed)
    while count:
        altered = bytearray(content)
        first, size = int(rng.integers(len(altered))), int(rng.integers(1, 40))
        kind = rng.integers(6)
        if kind == 0:
            altered[first] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del altered[first:]
        elif kind == 2:
            del altered[first : first + size]
        elif kind == 3:
            altered[first:first] = altered[first : first + size]
        elif kind == 4:
            altered[first : first + size] = rng.bytes(size)
        else:
            altered[first : first + size] = bytes(size)
        if altered != content:
            count -= 1
            yield bytes(altered)


def fuzz_file(
    read: Callable[[Path], object], contents: Iterable[bytes], path: Path, limit: float = LIMIT_S
) -> Outcomes:
    """Reads each content from a file; `read` raises WronglyAcceptedError where nobody was told of an alteration."""
    outcomes = Outcomes()
    for content in contents:
        path.write_bytes(content)
        outcomes[judge(lambda: read(path), str(path), limit)] += 1
    return outcomes


Read = Callable[[Path], object]


def planted(read: Read) -> dict[str, Read]:
    """A reader with ten defects of the kinds that readers have, one at a time."""

    def raising(error: Callable[[str], BaseException]) -> Read:
        def broken(path: Path) -> object:
            try:
                return read(path)
            except PrefineError as refusal:
                raise error(str(refusal)) from None

        return broken

    def lenient(path: Path) -> object:
        try:
            return read(path)
        except PrefineError:
            raise WronglyAcceptedError from None  # what the judge finds where nothing is refused

    def lenient_at_times(path: Path) -> object:
        return lenient(path) if path.read_bytes()[-1] % 8 else read(path)

    def slow(path: Path) -> object:
        time.sleep(0.02)
        return read(path)

    return {
        "refuses nothing": lenient,
        "refuses some": lenient_at_times,
        "key error": raising(KeyError),
        "value error": raising(ValueError),
        "type error": raising(TypeError),
        "recursion": raising(RecursionError),
        "memory": raising(MemoryError),
        "exit": raising(SystemExit),
        "no name": raising(lambda _: DamagedFileError("a file is damaged")),
        "slow": slow,
    }


def uncaught(read: Read, contents: Iterable[bytes], path: Path) -> list[str]:
    """The planted defects that a fuzzer with these contents does not see."""
    listed = list(contents)
    return [name for name, broken in planted(read).items() if not fuzz_file(broken, listed, path, 0.015).wrong]
