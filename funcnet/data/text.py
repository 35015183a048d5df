"""Text as bytes, split into a training part and a held-out part.

A byte is a token: 256 tokens spell any text, and bits per byte compare models whatever their tokens are.
"""

import re
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from .idx import DataError, PathLike, blame

LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "site-packages"}  # folders of the standard library
HELD_OUT = 0.1


class Text(NamedTuple):
    """The bytes of a text, split."""

    train: UInt8[np.ndarray, "N"]
    held_out: UInt8[np.ndarray, "M"]


def standard_library(seed: int = 0) -> Text:
    """The running Python's own standard library, as source; a tenth of its files, drawn by ``seed``, is held out.

    About 11 MB that every installation has, without tests, idlelib, lib2to3 and installed packages.
    """
    return _split([path.read_bytes() for path in _sources()], seed)


def text_file(path: PathLike) -> Text:
    """Any file, as bytes; its last tenth is held out. Raises DataError if it is unreadable or too short."""
    with blame(path):
        content = np.fromfile(path, np.uint8)
        cut = int(len(content) * (1 - HELD_OUT))
        if not 0 < cut < len(content) - 1:
            raise ValueError(f"holds {len(content)} bytes; expected at least eleven, so that two can be held out")
    return Text(content[:cut], content[cut:])


def names(path: PathLike | None = None, seed: int = 0) -> Text:
    """The distinct lines of a file, shuffled by ``seed``; a tenth of them is held out.

    Without a file, the names that the standard library defines with ``def`` and ``class``: some 15,000.
    Raises DataError if the file cannot be read, or has fewer than two distinct lines.
    """
    if path is None:
        found = {
            name for file in _sources() for name in re.findall(rb"^ *(?:def|class) +(\w+)", file.read_bytes(), re.M)
        }
    else:
        with blame(path):
            found = {line.strip() for line in Path(path).read_bytes().splitlines()} - {b""}
            if len(found) < 2:
                raise ValueError(f"holds {len(found)} distinct names, one per line; expected at least two")
    return _split([name + b"\n" for name in sorted(found)], seed)


def printable(content: bytes) -> str:
    """As text, with a dot for what would move a terminal's cursor."""
    return "".join(c if c.isprintable() or c in "\n\t" else "·" for c in content.decode("utf-8", "replace"))


def _sources() -> list[Path]:
    library = Path(sysconfig.get_path("stdlib"))
    found = sorted(
        path for path in library.rglob("*.py") if path.is_file() and not LEFT_OUT & {*path.relative_to(library).parts}
    )
    if len(found) < 2:
        raise DataError(f"{library}: no sources of the standard library; give a file of your own")
    return found


def _split(parts: Sequence[bytes], seed: int) -> Text:
    order = np.random.default_rng(seed).permutation(len(parts))
    cut = min(int(len(parts) * (1 - HELD_OUT)), len(parts) - 1)
    return Text(*(np.frombuffer(b"".join(parts[i] for i in some), np.uint8) for some in (order[:cut], order[cut:])))
