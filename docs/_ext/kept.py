"""Answers that take seconds each: found in a process for each core, and kept until what they depend on changes."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import jax
from sphinx.errors import ExtensionError

ROOT = Path(__file__).parent.parent.parent


def digest(question: Any, sources: Iterable[Path]) -> str:
    """Of a question, of JAX and of all Python files in the sources."""
    files = sorted(path for source in sources for path in ([source] if source.is_file() else source.rglob("*.py")))
    texts = [path.read_bytes() for path in files]
    return hashlib.sha256(b"\0".join([repr(question).encode(), jax.__version__.encode(), *texts])).hexdigest()


def place(folder: Path, name: str) -> Path:
    """The file of one answer."""
    return folder / f"{name.replace('/', '-')}.json"


def answers(
    questions: Mapping[str, Any],
    find: Callable[[Any], dict[str, Any]],
    sources: Iterable[Path],
    folder: Path,
    say: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """The answer to each question, by its name. Raises ExtensionError, with the name, if ``find`` raises."""
    folder.mkdir(parents=True, exist_ok=True)
    digests = {name: digest(question, [*sources, Path(__file__)]) for name, question in questions.items()}
    found = {}
    for name in questions:
        path = place(folder, name)
        answer = json.loads(path.read_text("utf-8")) if path.exists() else {}
        if answer.get("digest") == digests[name]:
            found[name] = answer
    missing = {name: question for name, question in questions.items() if name not in found}
    if not missing:
        return found
    workers, context = min(len(missing), os.cpu_count() or 1), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        begun = {pool.submit(find, question): name for name, question in missing.items()}
        for done in as_completed(begun):
            name = begun[done]
            if error := done.exception():
                pool.shutdown(cancel_futures=True)
                raise ExtensionError(f"{name}: {type(error).__name__}: {error}")
            found[name] = done.result() | {"digest": digests[name]}
            place(folder, name).write_text(json.dumps(found[name]), "utf-8")
            say(f"checked {name} ({len(found)} of {len(questions)})")
    return found
