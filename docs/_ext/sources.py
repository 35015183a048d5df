"""The code of a rule, cut from its module: the rule, and all that it uses there."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from funcnet import ops

ROOT = Path(__file__).parent.parent.parent


@functools.cache
def parts(module: ModuleType) -> dict[str, tuple[ast.stmt, str]]:
    """The functions, classes and rules of a module, by name, each with its source. Aliases of types are left out."""
    text = inspect.getsource(module)
    lines = text.splitlines()
    found: dict[str, tuple[ast.stmt, str]] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            start = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            found[node.name] = node, "\n".join(lines[start - 1 : node.end_lineno])
        elif (
            isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Name)
        ):
            found[node.targets[0].id] = node, "\n".join(lines[node.lineno - 1 : node.end_lineno])
    return found


def code_of(module: ModuleType, *names: str) -> tuple[str, str]:
    """The source of the named parts of a module, and of those that they use.

    ``NAME_fwd`` and ``NAME_bwd`` belong to a rule. Another public rule has a page of its own, and is left out unless
    the named one is made by calling it.
    """
    available = parts(module)
    wanted, seen = list(names), set()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        node, _ = available[name]
        used = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and part.id in available}
        wanted += [other for other in used if other not in ops.__all__ or isinstance(node, ast.Assign)]
    own = {own for name in names for own in (name, f"{name}_fwd", f"{name}_bwd")}
    return joined(available, seen & own), joined(available, seen - own)


def joined(available: dict[str, tuple[ast.stmt, str]], names: set[str]) -> str:
    return "\n\n\n".join(text for name, (_, text) in available.items() if name in names)


def module_of(name: str) -> ModuleType:
    """The module of ``funcnet.ops`` that defines a rule."""
    for module in [m for key, m in sys.modules.items() if key.startswith("funcnet.ops.") and hasattr(m, "__file__")]:
        if not str(module.__file__).endswith("__init__.py") and name in parts(module):
            return module
    raise KeyError(f"no module of funcnet.ops defines {name}")


def relative(module: ModuleType) -> str:
    return str(Path(str(module.__file__)).relative_to(ROOT))


def types_of(rule: Any) -> list[tuple[str, str]]:
    """Each argument and y, with the shape that the annotations of the forward give it."""
    signature = inspect.signature(rule.fwd)
    scope = inspect.unwrap(rule.fwd).__globals__
    rows = [(name, shape(parameter.annotation, scope)) for name, parameter in signature.parameters.items()]
    result = signature.return_annotation
    if isinstance(result, str):
        result = eval(result, scope)
    if not (hasattr(result, "dim_str")):
        result = result.__args__[0]
    return [*rows, ("y", shape(result, scope))]


def shape(annotation: Any, scope: dict[str, Any]) -> str:
    """``(*B, K)``, ``(*B) integers below K``: an annotation as a reader writes it."""
    if isinstance(annotation, str):
        annotation = eval(annotation, scope)
    if hasattr(annotation, "dim_str"):
        kinds = {"Int": " integers", "Bool": " booleans", "Key": " a random key"}
        kind = next((text for start, text in kinds.items() if annotation.__name__.startswith(start)), "")
        inside = ", ".join(axis.partition("=")[0] for axis in annotation.dim_str.split())
        return kind.strip() if kind == kinds["Key"] else f"({inside}){kind}" if inside else f"a number{kind}"
    if hasattr(annotation, "__metadata__"):
        return f"{shape(annotation.__origin__, scope)} below {annotation.__metadata__[0].axis}"
    if hasattr(annotation, "_fields"):
        fields = inspect.get_annotations(annotation, eval_str=True)
        return ", ".join(f"{name} {shape(field, scope)}" for name, field in fields.items())
    if annotation is None or annotation is type(None):
        return "None"
    if getattr(annotation, "__origin__", None) is tuple:
        return "; ".join(shape(part, scope) for part in annotation.__args__)
    if getattr(annotation, "__args__", None):
        return " or ".join(shape(part, scope) for part in annotation.__args__)
    if hasattr(annotation, "leaftype"):
        return "a pytree of arrays"
    return "of the loss" if annotation is Any else str(annotation)
