"""The directory of a run: fresh by default, held by one run at a time, and read by a person.

runs/NAME/001, 002, … and ``latest``, the newest of them; in each config.json, metrics.json (once the run has finished),
history.csv, log.txt, checkpoints/, the pictures, and what some experiments leave for ``funcnet predict``:
model.json and weights.safetensors. Each file is there as a whole or not at all.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import filelock

from funcnet.checkpoint import require_same
from funcnet.files import write_whole
from funcnet.models.saved import MODEL, WEIGHTS

RUNS = Path("runs")
CONFIG, METRICS, HISTORY, LOG, CHECKPOINTS = "config.json", "metrics.json", "history.csv", "log.txt", "checkpoints"


class RunError(ValueError):
    """The directory cannot be used; the message is for the user."""


def choose(name: str, out: Path | None, resume: bool, overwrite: bool) -> Path:
    """The directory for a run of ``name``, made if need be. Raises RunError if ``out`` holds a run already.

    Without ``out`` it is a fresh one below ``runs``, or with ``resume`` the newest that has not finished.
    """
    if out is None:
        return _unfinished(RUNS / name) if resume else _fresh(RUNS / name)
    for file in (METRICS, CONFIG, HISTORY, LOG, MODEL, WEIGHTS, f"{name}.png"):  # found now, not after the training
        if (out / file).is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), out / file)
    if (out / CHECKPOINTS).exists() and not (out / CHECKPOINTS).is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), out / CHECKPOINTS)
    if resume and not _is_run(out):
        raise RunError(f"--resume: there is no run in {out}")
    if _is_run(out) and not overwrite and (not resume or (out / METRICS).exists()):
        if (out / METRICS).exists():
            raise RunError(f"--out {out} holds a finished run; --overwrite replaces it")
        raise RunError(f"--out {out} holds an unfinished run; --resume goes on with it, --overwrite replaces it")
    out.mkdir(parents=True, exist_ok=True)
    return out


def _is_run(out: Path) -> bool:
    return (out / CONFIG).exists() or (out / METRICS).exists()


def _numbered(base: Path) -> list[Path]:
    found = [path for path in base.iterdir() if path.name.isdigit()] if base.is_dir() else []
    return sorted(found, key=lambda path: int(path.name))


def _fresh(base: Path) -> Path:
    """The next number; two runs that start at once get two."""
    base.mkdir(parents=True, exist_ok=True)
    while True:
        number = max((int(path.name) for path in _numbered(base)), default=0) + 1
        path = base / f"{number:03}"
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            break
    with contextlib.suppress(OSError):  # a file system without links
        link = base / f".latest.{os.getpid()}"
        link.symlink_to(path.name)
        link.replace(base / "latest")
    return path


def _unfinished(base: Path) -> Path:
    found = [path for path in _numbered(base) if (path / CONFIG).exists() and not (path / METRICS).exists()]
    if not found:
        raise RunError(f"--resume: there is no unfinished run in {base}")
    return found[-1]


@contextlib.contextmanager
def held(out: Path, settings: Mapping[str, Any], resume: bool) -> Iterator[None]:
    """Holds the directory, clears it of an earlier run unless that is resumed, and keeps what is printed in log.txt.

    Raises RunError if another run holds it, CheckpointError if a run with other settings is resumed, and OSError now,
    not after the training, if nothing can be written.
    """
    with _named(out), tempfile.TemporaryFile(dir=out) as probe:
        probe.write(bytes(1 << 16))
        probe.flush()
    lock = filelock.FileLock(out / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise RunError(f"{out}: another run is writing there") from None
    try:
        if not resume:
            for name in (METRICS, CONFIG, HISTORY, LOG, MODEL, WEIGHTS):
                (out / name).unlink(missing_ok=True)
            shutil.rmtree(out / CHECKPOINTS, ignore_errors=True)
        require_same(out / CONFIG, settings)
        for partial in out.glob(".*.partial"):  # of a run that was killed
            partial.unlink()
        log = (out / LOG).open("a", encoding="utf-8", errors="replace", buffering=1)
        try:
            with contextlib.redirect_stdout(_Tee(sys.stdout, log)):
                yield
        finally:
            with _named(out / LOG):  # what could not be written is tried once more
                log.close()
    finally:
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def _named(file: str | Path) -> Iterator[None]:
    """Adds the file's name to an OSError: of a full disk the system names none."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from None


class _Tee:
    """A stream whose text also goes to a log; everything else is the stream's own."""

    def __init__(self, stream: Any, log: io.TextIOWrapper):
        self.stream, self.log = stream, log

    def write(self, text: str) -> int:
        with _named(self.log.name):
            self.log.write(text)
        return self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def checkpoints(out: Path | None, *names: str) -> Path | None:
    """Where the checkpoints of one training stand; None without a run directory."""
    return out and out / CHECKPOINTS / "_".join(names).replace(" ", "_")


def remembered(out: Path | None, name: str, compute: Callable[[], Any]) -> Any:
    """``compute()``, of JSON's types, or what it returned when this run was begun; so a run resumed is not rerun."""
    path = checkpoints(out, f"{name}.json")
    if path is None:
        return compute()
    if not path.exists():
        value = compute()
        path.parent.mkdir(exist_ok=True)
        write_json(path, value)
    return json.loads(path.read_text("utf-8"))


def write_history(out: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """history.csv: a row for every epoch of every seed; nothing if no result has a history."""
    rows = [{"seed": result.get("seed", 0), **row} for result in results for row in result.get("history", ())]
    if rows:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
        write_whole(out / HISTORY, text.getvalue())


def write_json(path: Path, value: Any) -> Path:
    """A JSON file, whole."""
    return write_whole(path, json.dumps(value, indent=2, default=str) + "\n")
