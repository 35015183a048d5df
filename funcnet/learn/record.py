"""How far a learner is: a small file beside the exercises."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..files import write_whole

FILE = "funcnet-learn.json"
LARGEST = 1 << 20  # bytes


class RecordError(ValueError):
    """The file holds no record; the message is one line."""


@dataclass(frozen=True)
class Entry:
    """One exercise. ``seen``: the SHA-256 of the file that was judged last; ``hints``: how many were asked for.

    Who tries or asks is given one hint more: there are as many as ``tries`` and ``hints`` together.
    """

    tries: int = 0
    hints: int = 0
    seen: str = ""
    done: bool = False


def read(folder: Path) -> dict[str, Entry]:
    """The entries by the names of the exercises; none if there is no file. Raises RecordError, and OSError."""
    path = folder / FILE
    if not path.exists():
        return {}
    with open(path, "rb") as file:
        content = file.read(LARGEST + 1)
    try:
        if len(content) > LARGEST:
            raise ValueError
        return {str(name): _entry(fields) for name, fields in json.loads(content).items()}
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise RecordError(
            f"{path} is damaged: repair it, or remove it to begin anew; your answers are not in it"
        ) from None


def _entry(fields: Mapping[str, object]) -> Entry:
    entry = Entry(**fields)  # type: ignore[arg-type]
    if [type(value) for value in asdict(entry).values()] != [int, int, str, bool]:
        raise TypeError
    return entry


def write(folder: Path, entries: Mapping[str, Entry]) -> None:
    """Writes all entries. Raises OSError."""
    content = json.dumps({name: asdict(entry) for name, entry in entries.items()}, indent=2)
    write_whole(folder / FILE, content + "\n")
