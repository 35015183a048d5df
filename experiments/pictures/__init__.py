"""Pictures, a module for each kind: files, never windows, so the backend is chosen here, before pyplot is imported."""

import io
from pathlib import Path
from typing import Any

import matplotlib

from funcnet.files import write_whole

matplotlib.use("Agg")


def save(figure: Any, path: Path, dpi: int = 100) -> None:
    """Writes a figure as the kind that its suffix says; the file is there as a whole, or as it was."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=dpi, format=path.suffix[1:])
    write_whole(path, picture.getvalue())
