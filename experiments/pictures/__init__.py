"""Pictures, a module for each kind: files, never windows, so the backend is chosen here, before pyplot is imported."""

import io
from pathlib import Path
from typing import Any

import matplotlib

from funcnet.checkpoint import write_whole

matplotlib.use("Agg")


def save(figure: Any, path: Path, dpi: int = 100) -> None:
    """Writes a figure as PNG; the file is there as a whole, or as it was."""
    png = io.BytesIO()
    figure.savefig(png, dpi=dpi)
    write_whole(path, png.getvalue())
