"""Tables: the columns of a CSV file as numbers. What a column holds is learned from training rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float32

from .idx import DataError, PathLike, blame

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 1 << 28  # bytes of a CSV file
CATEGORIES = 50  # in a column at most: with more it is a name, a date or free text


class Column(NamedTuple):
    """A column of a table: numbers, with the value that stands for a missing one, or categories, if there are any."""

    name: str
    categories: tuple[str, ...] = ()
    fill: float = 0.0
    marked: bool = False
    """A further feature says which numbers are missing; so if any were in training."""

    @property
    def features(self) -> int:
        return len(self.categories) or 1 + self.marked


def read_csv(path: PathLike, separator: str = ",") -> pd.DataFrame:
    """A CSV file with a line of names; cells that are empty, NA, NaN, null or ? are missing.

    Raises DataError if it is unreadable, larger than LARGEST or without rows; ImportError without pandas.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(f'tables need pandas ({error}); run: pip install "funcnet[experiments]"') from error
    with blame(path):
        if (size := Path(path).stat().st_size) > LARGEST:
            raise ValueError(f"holds {size} bytes; expected no more than {LARGEST}")
        with open(path, "rb") as file:
            if b"\0" in file.read(1 << 16):
                raise ValueError("is no CSV file: it holds zero bytes")
        try:
            frame = pd.read_csv(
                path, sep=separator, na_values=["?"], skipinitialspace=True, low_memory=False, index_col=False,
                compression=None, encoding="utf-8-sig", on_bad_lines="error",
            )  # fmt: skip
        except OSError:
            raise
        except Exception as error:  # pandas has a dozen
            raise ValueError(f"is no CSV file: {' '.join(str(error).split())}") from error
        frame.columns = [str(name).strip() for name in frame.columns]
        if not len(frame):
            raise ValueError("has no rows below the line of names")
        if len(set(frame.columns)) < len(frame.columns):
            raise ValueError("has two columns of one name")
    return frame


def learn_columns(frame: pd.DataFrame) -> tuple[list[Column], list[str]]:
    """What each column of training rows holds; and a sentence for each that is left out, or has values missing."""
    columns, said = [], []
    for name in map(str, frame.columns):
        values = frame[name]
        missing = int(values.isna().sum())
        if is_numeric(values):
            numbers = _finite(values)
            missing = int(np.isnan(numbers).sum())
            if missing == len(numbers) or (not missing and np.ptp(numbers) == 0):
                said.append(f"{name}: left out, as {'no row has a value' if missing else 'all rows have one value'}")
                continue
            columns.append(Column(name, (), float(np.nanmedian(numbers)), missing > 0))
            how = f"taken as the median, {columns[-1].fill:g}, and marked"
        else:
            found = values.dropna().astype(str).value_counts()
            if not len(found) or len(found) + (missing > 0) < 2:
                said.append(f"{name}: left out, as all rows have one value")
                continue
            if len(found) > CATEGORIES:
                said.append(
                    f"{name}: left out, as it holds {len(found)} different texts; at most {CATEGORIES} are used"
                )
                continue
            columns.append(Column(name, tuple(sorted(found.index))))
            how = "none of its categories"
        if missing:
            said.append(f"{name}: {missing} of {len(frame)} values missing; {how}")
    return columns, said


def encode(columns: Sequence[Column], frame: pd.DataFrame) -> tuple[Float32[np.ndarray, "N F"], list[str]]:
    """Rows as numbers, and a sentence for each column with values that training never saw.

    A number is one feature, and its mark another; a category is a feature that is 1, and all of them are 0 for a
    missing or unknown one. Raises DataError for a missing column, and for text in a column of numbers.
    """
    parts, said = [], []
    for column in columns:
        if column.name not in frame.columns:
            raise DataError(f"there is no column {column.name!r}; there are {_shown(frame.columns)}")
        values = frame[column.name]
        if column.categories:
            texts = np.array(names_of(values.to_numpy()), dtype=object)
            known = texts[:, None] == np.array(column.categories, dtype=object)
            unknown = ~known.any(axis=1) & ~values.isna().to_numpy()
            if unknown.any():
                row = int(np.argmax(unknown))
                said.append(
                    f"{column.name}: {texts[row]!r:.40} in row {row + 1} is new; taken as none of its categories"
                )
            parts.append(known.astype(np.float64))
            continue
        if is_numeric(values) or values.isna().all():
            numbers = _finite(values)
        else:  # text among them, or whole numbers beyond 64 bits
            numbers = np.array([_number(column.name, row, value) for row, value in enumerate(values)])
        absent = np.isnan(numbers)
        if absent.any() and not column.marked:
            said.append(
                f"{column.name}: {int(absent.sum())} of {len(numbers)} values missing; taken as {column.fill:g}"
            )
        parts.append(np.where(absent, column.fill, numbers)[:, None])
        if column.marked:
            parts.append(absent[:, None].astype(np.float64))
    if not parts:
        return np.zeros((len(frame), 0), np.float32), said
    limit = np.finfo(np.float32).max
    return np.concatenate(parts, axis=1).clip(-limit, limit).astype(np.float32), said


def is_numeric(values: pd.Series) -> bool:
    """Whether pandas found numbers, and no truth values: these are categories."""
    return values.dtype.kind in "iuf" and not values.isna().all()


def names_of(values: np.ndarray) -> list[str]:
    """The names of classes; whole numbers without a point, as pandas makes them floats if one is missing."""
    return [str(int(v)) if isinstance(v, float) and v.is_integer() else str(v) for v in values.tolist()]


def _finite(values: pd.Series) -> np.ndarray:
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _number(name: str, row: int, value: object) -> float:
    """NaN for what is missing or infinite. Raises DataError for text."""
    try:
        number = float(str(value))
    except ValueError:
        raise DataError(f"column {name!r}, row {row + 1}: {str(value)!r:.40} is no number") from None
    return number if np.isfinite(number) else np.nan


def _shown(names: Sequence[object]) -> str:
    found = [str(name) for name in names]
    return ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "")
