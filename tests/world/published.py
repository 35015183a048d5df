"""What a row of the table is: a function of somebody else's package, its arguments, and the verdict it deserves."""

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.gradcheck.report import Report

RENAMED = {"flash_attention_jax": "flash-attention-jax", "jax_cce": "jax-cce", "ott": "ott-jax"}


class Random:
    """Arrays in float32, as the users of these packages have them."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)

    def normal(self, *shape: int, scale: float = 1.0) -> jax.Array:
        return jnp.asarray(self.rng.normal(size=shape) * scale, jnp.float32)

    def uniform(self, low: float, high: float, *shape: int) -> jax.Array:
        return jnp.asarray(self.rng.uniform(low, high, size=shape), jnp.float32)

    def below(self, bound: int, *shape: int) -> jax.Array:
        return jnp.asarray(self.rng.integers(bound, size=shape), jnp.int32)

    def mask(self, *shape: int) -> jax.Array:
        """Booleans, about three quarters of them true, and at least one in each row."""
        found = self.rng.uniform(size=shape) < 0.75
        found[..., 0] = True
        return jnp.asarray(found)

    def simplex(self, *shape: int) -> jax.Array:
        """Positive rows that sum to one."""
        found = self.rng.uniform(0.2, 1.0, size=shape)
        return jnp.asarray(found / found.sum(-1, keepdims=True), jnp.float32)

    def definite(self, *shape: int) -> jax.Array:
        """Symmetric positive definite matrices with eigenvalues from 1/2 upward."""
        a = self.rng.normal(size=shape)
        return jnp.asarray(a @ np.swapaxes(a, -1, -2) / shape[-1] + 0.5 * np.eye(shape[-1]), jnp.float32)


def blamed(report: Report) -> set[str]:
    """The names of the cotangents that the report calls wrong."""
    return {f"d{finding.argument}" for finding in report.findings}


class Published(NamedTuple):
    """A function that can be imported, ``path`` = "module:name", and the arguments on which it is checked.

    ``case`` tells rows of one function apart. ``keywords`` go to the function, ``settings`` to ``check``.
    ``assumes``: a part of the condition under which the rule is right, if there is one.
    ``undecided``: why nobody can be blamed, if the verdict is to be inconclusive.
    ``wrong``: the cotangents that are known to be wrong; with none, the function is right. What is known of either was
    found without the checker, by differences in float64 (docs/found.md).
    """

    path: str
    arguments: Callable[[Random], tuple[Any, ...]]
    case: str = ""
    keywords: Mapping[str, Any] = {}
    settings: Mapping[str, Any] = {}
    wrong: tuple[str, ...] = ()
    assumes: str = ""
    undecided: str = ""

    @property
    def name(self) -> str:
        return f"{self.path.replace(':', '.')} {self.case}".strip()

    def as_expected(self, report: Report) -> bool:
        """Whether the verdict is the one that the function deserves, and the wrong cotangents are blamed alone."""
        if self.undecided:
            return report.verdict == "inconclusive"
        conditions = "; ".join(report.conditions)
        right = report.verdict == ("wrong" if self.wrong else "correct") and bool(conditions) == bool(self.assumes)
        return right and self.assumes in conditions and blamed(report) == set(self.wrong)

    @property
    def distribution(self) -> str:
        """The name that the package is installed by; a function of ``uses.py`` begins with its package."""
        module, _, name = self.path.partition(":")
        package = name.partition("_")[0] if module == "tests.world.uses" else module.partition(".")[0]
        return RENAMED.get(package, package)

    def load(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """The function, with its keywords if there are any, and its arguments."""
        module, _, name = self.path.partition(":")
        f = functools.reduce(getattr, name.split("."), importlib.import_module(module))
        return functools.partial(f, **self.keywords) if self.keywords else f, self.arguments(Random(3))
