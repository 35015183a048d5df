"""Finds what there is to check in a file or in an importable module."""

import importlib
import importlib.util
import inspect
import os
import symtable
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax

from ...types import Layer, Rule
from ..engine.leaves import first_line


class TargetError(ValueError):
    """The target does not exist or cannot be imported; the message is one line, for the user."""


class Found(NamedTuple):
    """Something with a hand-written backward, or the reason why it is left out."""

    name: str
    target: Any = None
    left_out: str = ""


# ---------------------------------------------------------------- the module


@contextmanager
def opened(target: str) -> Iterator[tuple[ModuleType, str | None]]:
    """The module that ``FILE.py[:NAME]`` or ``MODULE[:NAME]`` names, and NAME.

    While it is open, it can import its neighbours, as if it were run; no ``__pycache__`` is written, and ``sys.path``
    and ``sys.modules`` are put back. Raises TargetError if there is no such module, or if it raises.
    """
    where, colon, name = target.rpartition(":")
    if not (colon and name.isidentifier()):
        where, name = target, ""
    path = Path(where)
    is_file = path.suffix == ".py" or len(path.parts) > 1 or where.startswith(".") or _stands_here(path)
    folder, dotted = _placed(path) if is_file else (Path.cwd(), where)
    before = list(sys.path), sys.dont_write_bytecode, sys.modules.get(dotted)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    try:
        try:
            module = _executed(dotted, path) if is_file else _imported(dotted)
        except TargetError:
            raise
        except BaseException as error:  # KeyboardInterrupt too: Ctrl-C does not reach a target's process
            raise TargetError(f"{where} cannot be imported: {_blame(error, folder)}") from error
        yield module, name or None
    finally:
        sys.path[:], sys.dont_write_bytecode, previous = before
        if is_file and previous is None:
            sys.modules.pop(dotted, None)
        elif is_file and previous is not None:
            sys.modules[dotted] = previous


def _stands_here(path: Path) -> bool:
    """Whether it is a file or a folder, and no package; a name may be too long for one."""
    with suppress(OSError, ValueError):
        return path.is_file() or (path.is_dir() and not (path / "__init__.py").exists())
    return False


def _placed(path: Path) -> tuple[Path, str]:
    """The folder that a file's imports start from, and the file's name from there, dotted if it is in a package."""
    if not path.is_file() or path.suffix != ".py":
        kind = "is a folder" if path.is_dir() else "is not Python" if path.exists() else "does not exist"
        raise TargetError(f"{path} {kind}; expected FILE.py, an importable module, or either with :NAME")
    home = folder = path.resolve().parent
    parts = [path.stem] if path.stem != "__init__" else []
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    # A file on its own gets a name that no other module has: a random.py must not replace the standard library's.
    return folder, ".".join(parts) if folder != home else f"checked_{path.stem}"


def _executed(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _imported(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise TargetError(f"expected FILE.py, an importable module, or either with :NAME; got {name!r}")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise TargetError(f"there is no module {name}, and no file of that name") from error
        raise


def _blame(error: BaseException, folder: Path) -> str:
    """``file:line: the error``, with the last line that is the user's own."""
    text = f"{type(error).__name__}: {first_line(error)}"
    if isinstance(error, SyntaxError) and error.filename:
        places = [(error.filename, error.lineno)]
        text = f"{type(error).__name__}: {error.msg}"
    else:
        frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
        frames = [(file, line) for file, line in frames if file != __file__ and not file.startswith("<")]
        own = [
            (file, line) for file, line in frames if Path(file).is_relative_to(folder) and "site-packages" not in file
        ]
        places = own or frames
    if not places:  # it could not even be read
        return text
    file, line = places[-1]
    return f"{os.path.relpath(file) if Path(file).is_relative_to(Path.cwd()) else file}:{line}: {text}"


# ---------------------------------------------------------------- its contents


def find(module: ModuleType, in_shape: tuple[int, ...] | None = None) -> list[Found]:
    """Every rule, custom_vjp function, pair ``X_fwd``, ``X_bwd``, Layer and factory ``-> Rule`` that is public.

    In the order of definition, each once: a pair only if nothing else holds the same two functions.
    """
    names = _public(module)
    candidates: dict[str, Found] = {}
    for name in names:
        found = _examined(module, name, in_shape)
        stem = name.removesuffix("_fwd")
        if found is None and stem != name and f"{stem}_bwd" in names:
            found = _pair(module, stem)
        if found is not None:
            candidates[name] = found
    held = {_functions(found.target)[1:] for name, found in candidates.items() if found.name == name}
    once: dict[Any, Found] = {}
    for name, found in candidates.items():
        functions = _functions(found.target)
        if found.name == name or functions[1:] not in held:
            once.setdefault(name if found.left_out else functions, found)
    return list(once.values())


def find_named(module: ModuleType, name: str, in_shape: tuple[int, ...] | None = None) -> Found:
    """The thing of that name, public or not. Raises TargetError if it cannot be checked."""
    found = _examined(module, name, in_shape, pairs=True) or _pair(module, name)
    if found is None:
        names = ", ".join(found.name for found in find(module, in_shape)) or "none"
        raise TargetError(f"there is no rule called {name}; there are: {names}")
    if found.left_out:
        raise TargetError(f"{name} cannot be checked: {found.left_out}")
    return found


def _public(module: ModuleType) -> list[str]:
    """``__all__``, or the names a module defines, in order of definition; a package exports its imports too."""
    scope = list(vars(module))
    exported = vars(module).get("__all__")
    if exported is not None:
        if not isinstance(exported, list | tuple) or not all(isinstance(name, str) for name in exported):
            raise TargetError(f"{module.__name__}.__all__ is no list of names; got {exported!r:.60}")
        return sorted(exported, key=lambda name: scope.index(name) if name in scope else len(scope))
    foreign = set() if hasattr(module, "__path__") else _only_imported(module)
    return [name for name in scope if not name.startswith("_") and name not in foreign]


def _only_imported(module: ModuleType) -> set[str]:
    try:
        table = symtable.symtable(inspect.getsource(module), module.__name__, "exec")
    except (OSError, TypeError):  # an empty file, or not of Python
        return set()
    return {symbol.get_name() for symbol in table.get_symbols() if symbol.is_imported() and not symbol.is_assigned()}


def _examined(module: ModuleType, name: str, in_shape: tuple[int, ...] | None, pairs: bool = False) -> Found | None:
    """The value of a name of the module, if it is of a kind that can be checked; ``pairs``: also a tuple fwd, bwd."""
    value = None
    try:
        value = getattr(module, name, None)
        if pairs and type(value) is tuple and len(value) == 2 and all(map(callable, value)):
            value = Rule(*value)
        return _of_kind(name, value, in_shape)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # of a lazy import, of an object's own __getattr__, of a factory
        called = "()" if callable(value) else ""
        return Found(name, left_out=f"{name}{called} raised {type(error).__name__}: {first_line(error)}")


def _of_kind(name: str, value: Any, in_shape: tuple[int, ...] | None) -> Found | None:
    if isinstance(value, type):
        return None
    if callable(value) and isinstance(inspect.unwrap(value, stop=_has_rule), jax.custom_vjp):  # perhaps under jit
        return Found(name, value)
    if isinstance(value, Layer):
        return Found(name, value) if in_shape else Found(name, left_out="a Layer needs --in-shape")
    if isinstance(value, Rule):
        return Found(name, value)
    made = getattr(value, "__annotations__", {}).get("return") if callable(value) else None
    if made is Rule or (isinstance(made, str) and made.split(".")[-1] == "Rule"):
        return _called(name, value)
    return None


def _has_rule(value: Any) -> bool:
    return isinstance(value, jax.custom_vjp)


def _called(name: str, factory: Any) -> Found:
    try:
        inspect.signature(factory).bind()
    except TypeError:
        return Found(name, left_out="needs arguments")
    return Found(name, Rule(*factory()))


def _pair(module: ModuleType, stem: str) -> Found | None:
    fwd, bwd = (getattr(module, f"{stem}_{part}", None) for part in ("fwd", "bwd"))
    return Found(stem, Rule(fwd, bwd)) if callable(fwd) and callable(bwd) else None


def _functions(target: Any) -> tuple[int, ...]:
    """Equal for two names of the same thing."""
    return tuple(id(getattr(target, part, None)) for part in ("fun", "fwd", "bwd"))
