"""Finds what there is to check in a file or in an importable module."""

import importlib
import importlib.util
import inspect
import os
import re
import symtable
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import jax

from ...types import Layer, Rule
from ..engine.leaves import first_line
from ..trial.homework import METHODS, is_homework, is_layer, returns_gradient
from ..trial.instances import made


class TargetError(ValueError):
    """The target does not exist or cannot be imported; the message is one line, for the user."""


class Found(NamedTuple):
    """Something with a hand-written backward, or the reason why it is left out."""

    name: str
    target: Any = None
    left_out: str = ""
    inputs: tuple[Any, ...] = ()
    """The file's own example of what it takes, if it gives one."""


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
            raise TargetError(f"{where} cannot be imported: {blamed(error, folder)}") from error
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


def blamed(error: BaseException, folder: Path) -> str:
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
    """Every rule, custom_vjp function, pair, Layer, factory ``-> Rule``, class and loss with its gradient.

    A pair is ``X_fwd``, ``X_bwd`` or ``X_forward``, ``X_backward``, in any such form. In the order of definition, each
    once: a pair only if nothing else holds the same two functions, and under a public name if it has one. What looks
    like half of one is left out, with what to change, unless it is private.
    """
    names = _names(module)
    candidates: dict[str, Found] = {}
    for name in names:
        found = _examined(module, name, in_shape)
        if found is not None and not (found.left_out and name.startswith("_")):
            candidates[name] = found
    held = {_functions(found.target)[1:] for name, found in candidates.items() if found.name == name}
    once: dict[Any, Found] = {}
    for name, found in candidates.items():
        functions = _functions(found.target)
        if found.name == name or functions[1:] not in held:
            key = name if found.left_out else functions
            if key not in once or (once[key].name.startswith("_") and not found.name.startswith("_")):
                once[key] = found
    used = {part for found in once.values() for part in _functions(found.target)}
    rest = [name for name in names if not name.startswith("_") and id(vars(module).get(name)) not in used]
    halves = (_half(module, name, bool(once)) for name in rest)
    return [*once.values(), *(half for half in halves if half and half.name not in candidates)]


def find_named(module: ModuleType, name: str, in_shape: tuple[int, ...] | None = None) -> Found:
    """The thing of that name, public or not. Raises TargetError if it cannot be checked."""
    pairs = (_pair_of(module, own) for own in vars(module))
    found = _examined(module, name, in_shape, pairs=True)
    found = found or next((pair for pair in pairs if pair and pair.name == name), None) or _half(module, name, True)
    if found is None:
        names = ", ".join(found.name for found in find(module, in_shape)) or "none"
        raise TargetError(f"there is no rule called {name}; there are: {names}")
    if found.left_out:
        raise TargetError(f"{name} cannot be checked: {found.left_out}")
    return found


def _names(module: ModuleType) -> list[str]:
    """``__all__``, or the names a module defines, private too, in order of definition; of a package its imports too."""
    scope = list(vars(module))
    exported = vars(module).get("__all__")
    if exported is not None:
        if not isinstance(exported, list | tuple) or not all(isinstance(name, str) for name in exported):
            raise TargetError(f"{module.__name__}.__all__ is no list of names; got {exported!r:.60}")
        return sorted(exported, key=lambda name: scope.index(name) if name in scope else len(scope))
    foreign = set() if hasattr(module, "__path__") else _only_imported(module)
    return [name for name in scope if not name.startswith("__") and name not in foreign]


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
        found = _of_kind(module, name, value, in_shape) or _pair_of(module, name)
        return found._replace(inputs=found.inputs or _example(module, name)) if found and found.target else found
    except TargetError as error:
        return Found(name, left_out=str(error))
    except BaseException as error:  # of a lazy import, of an object's own __getattr__, of a factory
        called = "()" if callable(value) else ""
        return Found(name, left_out=f"{name}{called} raised {type(error).__name__}: {first_line(error)}")


def _of_kind(module: ModuleType, name: str, value: Any, in_shape: tuple[int, ...] | None) -> Found | None:
    if is_layer(value) and is_homework(value):
        return _instance(module, name, value)
    if isinstance(value, type):
        return None
    if is_layer(type(value)) and is_homework(type(value)):
        return Found(name, value)
    if "loss" in name.lower() and "example" not in name and returns_gradient(value):
        return Found(name, value)
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


PAIRS = (("fwd", "bwd"), ("forward", "backward"), ("Forward", "Backward"))


def _pair_of(module: ModuleType, name: str) -> Found | None:
    """The pair whose forward has that name; of ``X_fwd`` and ``X_bwd`` it is called X."""
    fwd = getattr(module, name, None)
    for ahead, back in PAIRS:
        partner = getattr(module, name.replace(ahead, back), None)
        if _names_part(name, ahead) and callable(fwd) and callable(partner) and not isinstance(fwd, type):
            called, inputs = _called_by(module, name, ahead)
            return Found(called, Rule(fwd, partner), inputs=inputs)
    return None


def lone_forwards(module: ModuleType) -> list[Found]:
    """The forwards of a module that have no backward beside them; each ``target`` is the forward alone.

    Raises TargetError if an example raises.
    """
    found = []
    for name in _names(module):
        value = vars(module).get(name)
        for ahead, back in PAIRS:
            partner = name.replace(ahead, back)
            if isinstance(value, FunctionType) and _names_part(name, ahead) and not hasattr(module, partner):
                called, inputs = _called_by(module, name, ahead)
                found.append(Found(called, value, inputs=inputs))
                break
    return found


def _called_by(module: ModuleType, name: str, ahead: str) -> tuple[str, tuple[Any, ...]]:
    """What a pair is called, by the name of its forward, and the example of its inputs."""
    called = re.sub(f"{ahead}_|_?{ahead}", "", name, count=1) or name
    return called, _example(module, called, name, name.partition(ahead)[0])


def _names_part(name: str, part: str) -> bool:
    """Whether a function is named as that part of a pair: fwd at its end, forward anywhere."""
    return name.endswith(part) if part in PAIRS[0] else part in name


def _example(module: ModuleType, *names: str) -> tuple[Any, ...]:
    """The inputs that the file gives for one of these names, by ``NAME_example`` or ``example_NAME``.

    Raises TargetError if these raise.
    """
    stems = {name.strip("_") for name in names} - {""}
    keys = [f"{stem}_example" for stem in stems] + [f"example_{stem}" for stem in stems]
    keys += ["example"] if stems & {"forward"} else []
    for key in keys:
        if hasattr(module, key):
            given = getattr(module, key)
            try:
                given = given() if callable(given) else given
            except Exception as error:
                raise TargetError(f"{key}() raised {type(error).__name__}: {first_line(error)}") from error
            return given if type(given) is tuple else (given,)
    return ()


def _instance(module: ModuleType, name: str, cls: type) -> Found | None:
    """An instance of a class: that of its example, one that the file makes anyway, or one made of small numbers."""
    if (given := _example(module, name, name.lower())) and isinstance(given[0], cls):
        return Found(name, given[0], inputs=given[1:])
    if any(isinstance(value, cls) for value in vars(module).values()):
        return None  # it is found as that instance
    try:
        return Found(name, made(cls), inputs=given)
    except Exception as error:
        how = f"give an instance and its input: def {name}_example(): return {name}(...), x"
        return Found(name, left_out=f"{name}(...) raised {type(error).__name__}: {first_line(error)}; {how}")


DERIVATIVES = ("{}_grad", "{}_gradient", "{}_derivative", "{}_prime", "{}_deriv", "d_{}", "d{}", "grad_{}")


def _half(module: ModuleType, name: str, beside: bool) -> Found | None:
    """What looks like part of a pair or a class, and is none: with what to change.

    A lone forward is none unless there is something to check ``beside`` it.
    """
    value = vars(module).get(name)
    if isinstance(value, type):
        return _half_of_class(name, value, beside) if is_homework(value) else None
    if not isinstance(value, FunctionType) or "example" in name or not (name.endswith(PAIRS[0]) or is_homework(value)):
        return None
    for ahead, back in PAIRS:
        for has, lacks in ((ahead, back), (back, ahead)):
            if _names_part(name, has) and (beside or has == back) and not hasattr(module, name.replace(has, lacks)):
                return Found(name, left_out=f"there is no {name.replace(has, lacks)} beside it")
    stem = _differentiated(name, vars(module))
    text = f"it looks like a derivative of {stem}: write {stem}_forward(...) -> (out, cache) and "
    return Found(name, left_out=f"{text}{stem}_backward(dout, cache)") if stem else None


def _half_of_class(name: str, cls: type, beside: bool) -> Found | None:
    has = [part for part in METHODS if hasattr(cls, part)]
    if beside and len(has) == 1:
        lacks = next(part for part in METHODS if part not in has)
        return Found(name, left_out=f"it has a {has[0]} and no {lacks}")
    stem = next((stem for method in vars(cls) if (stem := _differentiated(method, vars(cls)))), None)
    text = f"it has a derivative of {stem}: write a class with forward(x) and backward(dout), which multiplies by dout"
    return Found(name, left_out=text) if stem and not has else None


def _differentiated(name: str, scope: Mapping[str, Any]) -> str | None:
    """The function beside it that a function is named as the derivative of."""
    stems = (stem for stem, value in scope.items() if callable(value))
    return next((stem for stem in stems if name in {form.format(stem) for form in DERIVATIVES}), None)


def _functions(target: Any) -> tuple[int, ...]:
    """Equal for two names of the same thing."""
    if any(hasattr(target, part) for part in ("fun", "fwd", "bwd")):
        return tuple(id(getattr(target, part, None)) for part in ("fun", "fwd", "bwd"))
    return id(target), id(target), id(target)
