"""Pictures, a module for each kind: files, never windows, so the backend is chosen here, before pyplot is imported."""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.animation import PillowWriter

from funcnet.files import write_whole

from . import style

matplotlib.use(os.environ.get("MPLBACKEND", "Agg"))  # a notebook has its own
matplotlib.rcParams.update(style.PARAMETERS)


def save(figure: Any, path: Path, dpi: int = 100) -> None:
    """Writes a figure as the kind that its suffix says; the file is there as a whole, or as it was."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=dpi, format=path.suffix[1:])
    write_whole(path, picture.getvalue())


@contextlib.contextmanager
def animation(figure: Any, path: Path, fps: int, dpi: int = 80) -> Iterator[PillowWriter]:
    """A GIF at ``path``, of the frames that its writer grabs; the file is there as a whole, or as it was."""
    writer, partial = PillowWriter(fps=fps), path.with_suffix(".partial.gif")
    with writer.saving(figure, partial, dpi=dpi):
        yield writer
    partial.replace(path)
