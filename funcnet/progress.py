"""A progress bar on a terminal, plain lines in a pipe; both on standard error, apart from any results."""

import itertools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def step_progress(unit: str, total: int, lines: int | None = None, done: int = 0) -> Iterator[Callable[[str], None]]:
    """Yields ``report(text)``, to be called after each of ``total`` steps but the ``done`` first.

    In a pipe it prints one line per step, or about ``lines`` lines in all.
    """
    if not sys.stderr.isatty():
        every, steps = max(1, total // (lines or total or 1)), itertools.count(done + 1)

        def line(text: str) -> None:
            step = next(steps)
            if step % every == 0 or step == total:
                print(f"{unit} {step}/{total}  {text}", file=sys.stderr, flush=True)

        yield line
    else:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn(unit),
            MofNCompleteColumn(),
            BarColumn(bar_width=16),  # the count, the time left and two figures then fit into 80 columns
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("compiling", total=total, completed=done)
            yield lambda text: bar.update(task, advance=1, description=text)


@contextmanager
def epoch_progress(epochs: int, enabled: bool = True, done: int = 0) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Yields ``report(row)``, to be called with the figures of each epoch but the ``done`` first.

    It shows the last split's figures; in a pipe it prints about ten lines, however many epochs there are.
    """
    if not enabled:
        yield lambda row: None
    else:
        with step_progress("epoch", epochs, lines=10, done=done) as report:
            yield lambda row: report(_figures(row))


def _figures(row: Mapping[str, float]) -> str:
    split, _, _ = [*row][-1].partition("_")
    figures = {name.removeprefix(f"{split}_"): value for name, value in row.items() if name.startswith(f"{split}_")}
    return f"{split}: " + ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
