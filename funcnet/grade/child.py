"""What runs in a student's process: their code, asked for values and gradients. Nothing that it says is believed."""

import contextlib
import os
import shutil
import site
import sys
import sysconfig
import threading
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from ..gradcheck.command.discovery import Found, TargetError, blamed, find, opened
from ..gradcheck.engine.leaves import is_float
from ..gradcheck.engine.underived import AutodiffError
from ..gradcheck.trial.subject import Subject
from ..gradcheck.trial.targets import as_subject
from . import fences
from .wire import HEAD, WireError, pack, sizes, unpack


def main(inward: int, outward: int, grader: int) -> None:
    """Answers the messages of the ``grader``, by its process id, until that ends it or is gone."""
    home = Path.cwd()
    threading.Thread(target=_end_with, args=(grader, home), daemon=True).start()
    with contextlib.suppress(BrokenPipeError):
        _serve(inward, outward, home)
    _leave(home)


def _serve(inward: int, outward: int, home: Path) -> None:
    jax.config.update("jax_enable_x64", True)
    jax.block_until_ready(jnp.ones(3) + 1)  # JAX starts its threads before there are limits
    _write(outward, "ready")
    if (asked := _read(inward)) is None:
        return
    libraries = [sysconfig.get_path(kind) for kind in ("stdlib", "platstdlib", "purelib", "platlib")]
    libraries += [*site.getsitepackages(), site.getusersitepackages()]
    sys.path[:] = [place for place in sys.path if fences.below(place, libraries)]  # the key may lie beside ours
    fences.limit(asked["seconds"], asked["memory"])
    fences.close(home, libraries, [str(Path(__file__).parents[1])])
    with contextlib.ExitStack() as stack:
        found, errors = _loaded(stack, asked["files"])
        _write(outward, {"found": [[item.name, item.left_out] for item in found], "errors": errors})
        students = Students(found, home)
        while (asked := _read(inward)) is not None:
            _write(outward, students.answer(asked))


def _end_with(grader: int, home: Path) -> None:
    """A grader that is killed leaves nothing behind, neither what loops nor its files."""
    while os.getppid() == grader:
        time.sleep(1)
    _leave(home)


def _leave(home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    os._exit(1)


def _loaded(stack: contextlib.ExitStack, files: list[str]) -> tuple[list[Found], list[str]]:
    """What there is in all files, and one line for each that cannot be imported."""
    found: list[Found] = []
    errors = []
    for file in files:
        try:
            module, _ = stack.enter_context(opened(file))
            found += find(module)
        except TargetError as error:
            errors.append(str(error))
    return found, errors


class Misfit(Exception):  # noqa: N818  (of the student's code)
    """A student's function does not have the form of the key's."""


class Students:
    """The things with a backward that a student wrote."""

    def __init__(self, found: list[Found], home: Path):
        self.found, self.home = found, home
        self.subjects: dict[int, Subject] = {}

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """``y`` and ``gradients`` by the key's names, or one line on why there are none."""
        try:
            y, gradients = self._run(asked["number"], asked["arguments"], asked["args"], asked["dy"])
            answer = {"y": y, "gradients": gradients}
            pack(answer)
            return answer
        except AutodiffError as error:
            where = blamed(error, self.home).partition(": ")[0]
            return {"autodiff": f"{where} calls JAX's autodiff; the derivation is to be one's own"}
        except NotImplementedError:
            return {"error": "its backward is still to be written"}
        except Misfit as misfit:
            return {"error": str(misfit)}
        except WireError as error:
            return {"error": f"it returns what is no array: {error}"}
        except (Exception, SystemExit) as error:
            return {"error": blamed(error, self.home)}

    def _run(self, number: int, names: list[str], args: tuple[Any, ...], dy: Any) -> tuple[Any, dict[str, Any]]:
        item = self.found[number]
        if number not in self.subjects:
            self.subjects[number] = as_subject(item.target, item.name, args)
        subject = self.subjects[number]
        if len(subject.arguments) < len(names) or subject.required > len(names):
            own = ", ".join(subject.arguments)
            raise Misfit(f"it takes ({own}); the key's takes ({', '.join(names)})")
        order = _order(subject.arguments, names)
        if not subject.in_numpy:
            args, dy = jax.tree.map(lambda leaf: jnp.asarray(leaf) if is_float(leaf) else leaf, (args, dy))
        y, saved = subject.fwd(*(args[i] for i in order))
        got = subject.bwd(saved, dy)
        got = got if isinstance(got, tuple | list) else (got,)
        if len(got) not in (len(order), len(subject.arguments)):
            raise Misfit(f"its backward returns {len(got)} values; expected one for each of ({', '.join(names)})")
        return y, {names[i]: d for i, d in zip(order, got, strict=False)}


def _order(own: tuple[str, ...], names: list[str]) -> list[int]:
    """For each argument of the student's, which of the key's it is: by its name if all names fit, else by its place."""
    bare = [name.lower().strip("_") for name in own[: len(names)]]
    keys = [name.lower().strip("_") for name in names]
    return [keys.index(name) for name in bare] if sorted(bare) == sorted(keys) else list(range(len(names)))


# ---------------------------------------------------------------- the pipes


def _read(fd: int) -> Any:
    head = _exactly(fd, HEAD.size)
    if head is None:
        return None
    first, second = sizes(head)
    return unpack(_exactly(fd, first) or b"", _exactly(fd, second) or b"")


def _exactly(fd: int, count: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < count:
        part = os.read(fd, min(count - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)


def _write(fd: int, answer: Any) -> None:
    left = memoryview(pack(answer))
    while left:
        left = left[os.write(fd, left) :]
