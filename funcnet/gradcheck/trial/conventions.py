"""How people call a backward, and where they leave its gradients: conventions that homework follows.

Names decide what an argument of a backward is, and which gradient belongs to which argument. If they do not tell, what
runs does.
"""

import ast
import contextlib
import copy
import inspect
import itertools
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ..engine.leaves import floats_of
from .subject import parameters_of, source_of

KINDS = {
    "cache": r"cache\w*|ctx|context|saved\w*|residuals?|res|mem(ory)?|tape",
    "rate": r"learning_?rate|lr|eta|step_?size",
    "y": r"out(puts?)?|y|a|activations?",
    "dy": r"d(?!ata|im|rop|epth|ict)\w*|grad\w*|\w+_grad(ient)?s?|upstream\w*|delta\w*|error\w*|\w+_error|g",
}
Plan = list[str]
TRIED = 24  # plans, at most


def plans_for(backward: Callable[..., Any], arguments: Sequence[str]) -> list[Plan]:
    """What each argument of a backward is: dy, y, cache, a learning rate, or an argument of the forward.

    If its name does not tell, there are several plans, to be tried.
    """
    names, required, _ = parameters_of(backward, 0)
    plan = [_kind(name, arguments) for name in names[:required]]
    places = [i for i, kind in enumerate(plan) if not kind]
    missing = [kind for kind in ("dy", "cache") if kind not in plan] + ["dy"] * len(places)
    plans = [plan] if not places else []
    for kinds in itertools.islice(itertools.permutations(missing, len(places)), TRIED) if places else ():
        filled = dict(zip(places, kinds, strict=True))
        plans.append([filled.get(i, kind) for i, kind in enumerate(plan)])
    return plans


def _kind(name: str, arguments: Sequence[str]) -> str:
    if name in arguments:
        return name
    return next((kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, name.lower())), "")


def called_by(plans: list[Plan], backward: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    """What the backward returns. If there are several plans, all but one are dropped.

    ``values`` are those of the kinds and of the arguments of the forward. A backward that is not given dy has the
    gradient of y itself, which is multiplied by dy.
    """
    if len(plans) > 1:
        plans[:] = [_settled(plans, copy.deepcopy(backward), values)]
    return _called(plans[0], backward, values)


def _called(plan: Plan, backward: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    dy = values["dy"]
    several = iter(dy if plan.count("dy") > 1 and isinstance(dy, tuple) else [dy])
    found = backward(*copy.deepcopy([next(several, dy) if kind == "dy" else values[kind] for kind in plan]))
    return found if "dy" in plan else jax.tree.map(lambda leaf: leaf * dy, found)


def _settled(plans: list[Plan], backward: Callable[..., Any], values: Mapping[str, Any]) -> Plan:
    """The first plan by which the backward runs and is linear in dy; else the first by which it runs."""
    runs = []
    for plan in plans:
        with contextlib.suppress(Exception):
            once = _called(plan, backward, values)
            twice = _called(plan, backward, {**values, "dy": jax.tree.map(lambda d: 2 * d, values["dy"])})
            runs.append(plan)
            if all(map(np.allclose, jax.tree.leaves(twice), [2 * leaf for leaf in jax.tree.leaves(once)])):
                return plan
    return (runs or plans)[0]


# ---------------------------------------------------------------- which gradient is whose


def means(key: Any, name: str) -> bool:
    """Whether ``key`` is a name for the gradient of ``name``: dw, dL_dw, grad_w, w_grad, or w itself."""
    bare, called = (re.sub("_|s$", "", str(text).lower()) for text in (name, key))
    before = {f"{prefix}{bare}" for prefix in ("", "d", "dl", "dc", "dld", "dcd", "grad")}
    return called in before | {f"{bare}grad", f"{bare}gradient"}


def in_order(
    arguments: Sequence[str], args: Sequence[Any], inputs: Sequence[str], returned: Any, backward: Callable[..., Any]
) -> dict[str, Any] | None:
    """The gradients that a backward returned, by argument; None if it cannot be told which is which.

    ``inputs``: the arguments whose gradients it may return alone, as the others are found elsewhere.
    """
    pairs = list(zip(arguments, args, strict=False))
    moving = [name for name, arg in pairs if floats_of(arg) and of_arrays(arg)]
    alone = [name for name in moving if name in inputs]
    if returned is None:
        return {}
    if isinstance(returned, dict):
        return {name: of_name(returned, name, arg) for name, arg in pairs}
    if isinstance(returned, tuple | list):
        names = next((n for n in (alone, list(inputs), moving) if len(n) == len(returned)), None)
        if names is None:
            return None
        placed = dict(pairs)
        return {name: _like(placed[name], got) for name, got in zip(names, returned, strict=True)}
    written = returned_names(backward)[-1:]
    named = [name for name in alone if written and means(written[0], name)]
    return dict.fromkeys((named or alone)[:1], returned)


def of_arrays(arg: Any) -> bool:
    """Whether it is an array, or made of arrays alone."""
    leaves = jax.tree.leaves(arg)
    return bool(leaves) and all(hasattr(leaf, "dtype") for leaf in leaves)


def _like(arg: Any, got: Any) -> Any:
    """The gradient of an argument that is a dict with the keys of the argument."""
    both = isinstance(arg, dict) and isinstance(got, dict)
    return {key: of_name(got, str(key), part) for key, part in arg.items()} if both else got


def of_name(found: Mapping[Any, Any], name: str, arg: Any) -> Any:
    """The gradient of an argument in a dict; of one that is a dict itself, those of its entries."""
    if isinstance(arg, dict) and not any(means(key, name) for key in found):
        return {key: of_name(found, str(key), part) for key, part in arg.items()}
    return next((value for key, value in found.items() if means(key, name)), None)


def returned_names(f: Callable[..., Any]) -> list[str]:
    """The names in the last return statement of a function; "" for what has none."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(source_of(f))))
    except (OSError, TypeError, SyntaxError):
        return []
    returns = [node for node in ast.walk(tree) if isinstance(node, ast.Return) and node.value is not None]
    last = max(returns, key=lambda node: node.lineno, default=None)
    if last is None:
        return []
    parts = last.value.elts if isinstance(last.value, ast.Tuple) else [last.value]
    return [part.id if isinstance(part, ast.Name) else "" for part in parts]
