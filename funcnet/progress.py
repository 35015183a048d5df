"""A progress bar on a terminal, plain lines in a pipe; both on standard error, where they mix with no result."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def epoch_progress(epochs: int, enabled: bool = True) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Yields ``report(row)``, to be called after each epoch with its figures (``epoch`` among them).

    In a pipe about ten lines are printed, however many the epochs.
    """
    if not enabled:
        yield lambda row: None
    elif not sys.stderr.isatty():

        def line(row: Mapping[str, float]) -> None:
            epoch = int(row["epoch"])
            if epoch % max(1, epochs // 10) == 0 or epoch == epochs:
                print(f"epoch {epoch}/{epochs}  {_figures(row)}", file=sys.stderr, flush=True)

        yield line
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("epoch"),
            MofNCompleteColumn(),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("compiling", total=epochs)
            yield lambda row: bar.update(task, advance=1, description=_figures(row))


def _figures(row: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in row.items() if name not in ("epoch", "seconds"))
