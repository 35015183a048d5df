"""What a page of the manual claims, tried: the rule by the checker and by the audit, and the page's example."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import yaml

import funcnet
from funcnet import gradcheck, layers, models, ops
from funcnet.types import Layer, Rule

PACKAGE = Path(funcnet.__file__).parent
SOURCES = [PACKAGE / name for name in ("types.py", "ops", "layers", "models", "gradcheck")] + [Path(__file__)]
DIFFERENCE = 1e-5  # the step of central differences in float64: an error of some 1e-10
CLOSE = 1e-6  # of the largest entry


class Page(NamedTuple):
    """A page with a verdict: its place, how its rule or layer is made, how that is checked, and its example."""

    place: str
    made: str
    inputs: str
    settings: str
    example: str

    @property
    def name(self) -> str:
        return self.place.rpartition("/")[2]

    @property
    def target(self) -> Rule | Layer:
        return eval(self.made, vars(ops) | {"layers": layers, "models": models})

    def drawn(self) -> tuple[Any, ...]:
        return eval(self.inputs, {"rng": np.random.default_rng(0), "jax": jax, "models": models})


def read(docs: Path, place: str) -> Page | None:
    """The page of a rule or a network; None for any other page.

    Its front matter may say ``rule``, and the ``inputs`` and ``settings`` of the check: strings of Python.
    """
    text = (docs / f"{place}.md").read_text("utf-8")
    if "```{rule-verdict}" not in text:
        return None
    front = yaml.safe_load(text.split("---")[1]) if text.startswith("---") else {}
    name = place.rpartition("/")[2]
    made = front.get("rule") or (name if isinstance(getattr(ops, name), Rule) else f"{name}()")
    example = re.search(r"^```\{rule-example\}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return Page(place, made, front.get("inputs", "()"), front.get("settings", "{}"), example[1] if example else "")


def tried(page: Page) -> dict[str, Any]:
    """The report, the audit and the example, as JSON can hold them."""
    target, inputs, settings = page.target, page.drawn(), eval(page.settings, {})
    report = gradcheck.check(target, *inputs, name=page.name, progress=False, **settings)
    settings.pop("quick", None)
    audit = gradcheck.audit(target, *inputs, name=page.name, time=False, **settings)
    with jax.enable_x64(True):
        example = worked(target, page.example) if page.example else []
    return {"report": report.to_dict() | {"shown": str(report)}, "audit": audit.to_dict(), "example": example}


# ---------------------------------------------------------------- the example


def worked(rule: Rule, code: str) -> list[tuple[str, str]]:
    """Names and printed values: the arguments, dy, y, and each cotangent beside that by differences.

    ``code`` sets the arguments of the forward by name, and ``dy`` unless y is a scalar. Raises RuntimeError if a
    cotangent and its differences are not the same.
    """
    scope: dict[str, Any] = {"jnp": jnp, "np": np, "jax": jax, "ops": ops}
    exec(code, scope)
    names = [name for name in inspect.signature(rule.fwd).parameters if name in scope]
    args = [as_arrays(scope[name]) for name in names]
    y, residuals = rule.fwd(*args)
    dy = as_arrays(scope.get("dy", jnp.ones_like(jnp.asarray(y)) if not jax.tree.leaves(y)[0].ndim else None))
    cotangents = rule.bwd(residuals, dy)
    values = [*zip(names, args, strict=True), ("y", y), ("dy", dy)]
    lines = [(label, shown(value)) for name, tree in values for label, value in named(name, tree)]
    numbers = differences(rule, args, dy)
    for name, cotangent, number in zip(names, cotangents, numbers, strict=False):
        for (label, got), (_, expected) in zip(named(f"d{name}", cotangent), named("", number), strict=True):
            scale = max(np.abs(expected).max(initial=0), 1e-3)
            if not np.abs(np.asarray(got) - expected).max(initial=0) <= CLOSE * scale:  # NaN is wrong too
                raise RuntimeError(f"{label} is {got}, and by differences {expected}")
            lines += [(label, shown(got)), ("  by differences", shown(expected))]
    return lines


def as_arrays(value: Any) -> Any:
    """Lists as arrays, integers of 32 bits; inside tuples and dicts too."""
    if isinstance(value, list):
        array = np.asarray(value)
        return jnp.asarray(array.astype(np.int32) if array.dtype.kind == "i" else array)
    if isinstance(value, dict):
        return {key: as_arrays(item) for key, item in value.items()}
    if isinstance(value, tuple):
        items = [as_arrays(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value


def named(name: str, tree: Any) -> list[tuple[str, Any]]:
    """Each leaf with its name."""
    return [
        (name + jax.tree_util.keystr(path), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if not jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    ]


def shown(value: Any) -> str:
    """An array of more than two axes without those of size 1."""
    numbers = np.round(np.asarray(value, np.float64), 4) + 0.0
    return np.array2string(np.squeeze(numbers) if numbers.ndim > 2 else numbers, suppress_small=True)


def differences(rule: Rule, args: list[Any], dy: Any) -> list[Any]:
    """∂⟨dy, y⟩/∂arg for every floating argument, by central differences; None for the others."""

    @jax.jit
    def along(*args):
        y = rule.fwd(*args)[0]
        return sum(jnp.vdot(a, b) for a, b in zip(jax.tree.leaves(dy), jax.tree.leaves(y), strict=True))

    def of_leaf(leaves: list[Any], i: int, structure: Any) -> np.ndarray | None:
        if not jnp.issubdtype(leaves[i].dtype, jnp.floating):
            return None
        slopes = np.zeros(leaves[i].size)
        for j in range(leaves[i].size):
            sides = []
            for step in (DIFFERENCE, -DIFFERENCE):
                moved = np.asarray(leaves[i]).copy()
                moved.flat[j] += step
                sides.append(along(*jax.tree.unflatten(structure, [*leaves[:i], jnp.asarray(moved), *leaves[i + 1 :]])))
            slopes[j] = (sides[0] - sides[1]) / (2 * DIFFERENCE)
        return slopes.reshape(leaves[i].shape)

    leaves, structure = jax.tree.flatten(tuple(args))
    return list(jax.tree.unflatten(structure, [of_leaf(leaves, i, structure) for i in range(len(leaves))]))
