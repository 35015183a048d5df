"""Domains: what a derivation may assume of an argument, such as rows that sum to one.

They are drawn from if that is asked for, ``draw={"y": one_hot}`` or ``Annotated[Float[Array, "N K"], one_hot]``, and
tried if a backward is wrong on other inputs.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ..engine.leaves import close


@dataclasses.dataclass(frozen=True)
class Domain:
    """``domain(rng, shape)`` draws an array; it raises ValueError if there is none of that shape.

    ``says`` is the condition for an argument called {}. ``holds(array)``: whether an array lies in it.
    ``exact``: a random array never does, so that one that does was meant to.
    ``part``: the part of a direction that stays in the domain, if the array is moved only so, and no more is asked of
    a gradient; None if it may be moved anyhow.
    """

    says: str
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    holds: Callable[[np.ndarray], bool]
    exact: bool = False
    part: Callable[[Any], Any] | None = None

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return self.draw(rng, shape)


def _matrix(shape: tuple[int, ...]) -> int:
    if len(shape) < 2 or shape[-1] != shape[-2] or shape[-1] < 2:
        raise ValueError("square matrices only")
    return shape[-1]


def _rows(shape: tuple[int, ...]) -> int:
    if not shape or shape[-1] < 2:
        raise ValueError("rows of two and more only")
    return shape[-1]


def _one_hot(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.eye(_rows(shape))[rng.integers(shape[-1], size=shape[:-1])]


def _simplex(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.dirichlet(np.ones(_rows(shape)), size=shape[:-1])


def _unit_rows(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    rows = rng.normal(size=(*shape[:-1], _rows(shape)))
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def _symmetric(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    _matrix(shape)
    half = rng.normal(size=shape)
    return half + half.swapaxes(-1, -2)


def _definite(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    size = _matrix(shape)
    half = rng.normal(size=shape)
    return half @ half.swapaxes(-1, -2) / size + 0.5 * np.eye(size)


def _orthogonal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    _matrix(shape)
    return np.linalg.qr(rng.normal(size=shape))[0]


def _permutation(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    size = _matrix(shape)
    order = rng.permuted(np.broadcast_to(np.arange(size), shape[:-1]), axis=-1)
    return np.eye(size)[order]


def _triangular(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.tril(rng.normal(size=shape)) + np.eye(_matrix(shape)) * 2


def _positive(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return 0.2 + np.abs(rng.normal(size=shape))


def _interval(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(0.05, 0.95, size=shape)


def _sorted(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    _rows(shape)
    return np.sort(rng.normal(size=shape), axis=-1)


def _is_permutation(a: np.ndarray) -> bool:
    return (
        a.ndim > 1 and a.shape[-1] == a.shape[-2] > 1 and _is_one_hot(a) and close(a.sum(-2), np.ones_like(a[..., 0]))
    )


def _is_one_hot(a: np.ndarray) -> bool:
    return a.ndim > 0 and a.shape[-1] > 1 and bool(np.isin(a, (0, 1)).all() and (a.sum(-1) == 1).all())


def _sums_to_one(a: np.ndarray) -> bool:
    return a.ndim > 0 and a.shape[-1] > 1 and bool((a >= 0).all()) and close(a.sum(-1), np.ones(a.shape[:-1]), 1e-6)


def _is_symmetric(a: np.ndarray) -> bool:
    return a.ndim > 1 and a.shape[-1] == a.shape[-2] > 1 and close(a, a.swapaxes(-1, -2), 1e-6)


def _is_orthogonal(a: np.ndarray) -> bool:
    return a.ndim > 1 and a.shape[-1] == a.shape[-2] > 1 and close(a @ a.swapaxes(-1, -2), np.eye(a.shape[-1]), 1e-6)


def _has_unit_rows(a: np.ndarray) -> bool:
    return a.ndim > 0 and a.shape[-1] > 1 and close(np.linalg.norm(a, axis=-1), np.ones(a.shape[:-1]), 1e-6)


def _is_triangular(a: np.ndarray) -> bool:
    return a.ndim > 1 and a.shape[-1] == a.shape[-2] > 1 and not np.triu(a, 1).any()


one_hot = Domain("the rows of {} are one-hot", _one_hot, _is_one_hot, exact=True)
simplex = Domain("the rows of {} sum to 1", _simplex, _sums_to_one, exact=True)
unit_rows = Domain("the rows of {} have norm 1", _unit_rows, _has_unit_rows, exact=True)
permutation = Domain("{} is a permutation matrix", _permutation, _is_permutation, exact=True)
orthogonal = Domain("{} is orthogonal", _orthogonal, _is_orthogonal, exact=True)
definite = Domain(
    "{} is symmetric and positive definite",
    _definite,
    lambda a: _is_symmetric(a) and bool(np.linalg.eigvalsh(a).min() > 0),
    exact=True,
)
symmetric = Domain("{} is symmetric", _symmetric, _is_symmetric, exact=True)
triangular = Domain("{} is lower triangular", _triangular, _is_triangular, exact=True)
positive = Domain("{} is positive", _positive, lambda a: bool((a > 0).all()))
unit_interval = Domain("the entries of {} lie between 0 and 1", _interval, lambda a: bool(((a > 0) & (a < 1)).all()))
ascending = Domain("the rows of {} are sorted", _sorted, lambda a: bool((np.diff(a, axis=-1) >= 0).all()))

symmetric_throughout, definite_throughout = (
    dataclasses.replace(domain, says=f"{domain.says}, and stays so", part=lambda d: (d + d.swapaxes(-1, -2)) / 2)
    for domain in (symmetric, definite)
)

# The weakest that holds is named, so of two that contain each other the larger comes first.
ASSUMED = (
    positive, unit_interval, ascending, simplex, one_hot, unit_rows, symmetric, definite, orthogonal, permutation,
    triangular, symmetric_throughout, definite_throughout,
)  # fmt: skip


def is_structured(leaf: Any) -> bool:
    """Whether an array lies in a domain that no random array does, or holds nothing but 0 and 1."""
    a = np.asarray(leaf)
    return a.size > 1 and (bool(np.isin(a, (0, 1)).all()) or any(domain.holds(a) for domain in ASSUMED if domain.exact))
