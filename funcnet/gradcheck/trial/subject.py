"""The subject of a check: anything with a forward and a hand-written backward, brought to one form."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Hashable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import CustomVJPPrimal

from ...types import Layer
from ..engine.leaves import Leaf, cast, floats_of, is_complex, is_float, is_inexact, pack, unpack
from ..engine.rewriting import widened
from ..engine.width import as_users_have_it

FORWARD = "autodiff of the forward"
UNDECORATED = "autodiff of the undecorated function"
GIVEN = "autodiff of the function given as reference"
SURROGATE = "autodiff of the function given as surrogate"
NUMPY = "autodiff of the forward, which is NumPy's, run by JAX"
DIFFERENCES = "differences"


class InputError(ValueError):
    """The checker was called wrongly; the message says what was expected."""

    def _render_traceback_(self) -> list[str]:
        """For notebooks: the message, without the checker's own frames."""
        return [f"{type(self).__name__}: {self}"]


class Subject(NamedTuple):
    """A forward, ``fwd(*args) -> (y, residuals)``, and the backward that somebody wrote for it.

    ``primal`` is the function that is differentiated for reference, and ``reference`` says in words how; it is empty
    until ``judge/ladder.py`` has found out.
    ``source`` is the function whose annotations are read, ``lines`` the one whose lines findings show.
    """

    name: str
    fwd: Callable[..., tuple[Any, Any]]
    bwd: Callable[[Any, Any], Any]
    primal: Callable[..., Any]
    arguments: tuple[str, ...]
    source: Callable[..., Any]
    primal_is: Literal["fwd", "other code", "a surrogate"] = "fwd"
    """``fwd`` itself; other code for the same function, as in a ``custom_vjp``; or a function of another value."""
    static: tuple[int, ...] = ()
    """The arguments under ``nondiff_argnums``: they are no arrays and go through as they are."""
    required: int = 0
    """The number of arguments without a default."""
    reference: str = FORWARD
    none_is_zero: bool = False
    """Whether None for an argument says that its cotangent is zero, as in a ``custom_vjp``."""
    lines: Callable[..., Any] | None = None
    by_hand: bool = True
    """Whether somebody wrote the backward, and not JAX."""
    in_numpy: bool = False
    """Whether forward and backward are NumPy code, which cannot be traced."""
    own: tuple[Any, ...] = ()
    """The values of the last arguments, if nobody gives them, as those of the parameters of an instance."""
    example: tuple[Any, ...] = ()
    """Inputs on which it runs, if none are given."""
    notes: tuple[str, ...] = ()
    """What a report says of how it was judged."""

    def leaves(self, args: tuple[Any, ...]) -> list[Leaf]:
        """The names of the differentiable leaves of the arguments, in order."""
        return [
            Leaf(self.arguments[path[0].idx], jax.tree_util.keystr(path[1:]))
            for path, leaf in jax.tree_util.tree_leaves_with_path(args)
            if is_float(leaf)
        ]

    def value(self, form: Hashable) -> Callable[..., Any]:
        """y as a function of the arrays of ``args``, packed."""
        return lambda *arrays: self.fwd(*unpack(form, arrays))[0]

    def shape_of_y(self, args: tuple[Any, ...]) -> Any:
        """The result of the forward: its shapes and dtypes if it can be traced, else its values."""
        packed = pack(args)
        try:
            return jax.eval_shape(self.value(packed.form), *packed.arrays)
        except jax.errors.JAXTypeError:  # it looks at values
            return self.fwd(*args)[0]

    def widened(self, args: tuple[Any, ...]) -> Subject:
        """The subject with every float of its forward and of its backward in float64.

        It is traced for arguments of the dtypes of ``args``, and for the y that these give. Residuals are wide if
        ``args`` are: constants keep all their digits then.
        """
        with as_users_have_it(args):
            y, residuals = self.fwd(*args)
        if all(leaf.dtype == jnp.float64 for leaf in floats_of(args)):
            residuals = cast(residuals, jnp.float64)
        fwd = widened(self.fwd, args)
        primal = (lambda *args: fwd(*args)[0]) if self.primal_is == "fwd" else widened(self.primal, args)
        return self._replace(fwd=fwd, bwd=widened(self.bwd, (residuals, y)), primal=primal)

    def taking(self, count: int) -> Subject:
        """The same on its first ``count`` arguments; the others keep their defaults, and need no cotangents."""
        everything = len(self.arguments)

        def bwd(residuals, dy):
            got = self.bwd(residuals, dy)
            return got[:count] if isinstance(got, tuple) and len(got) == everything else got

        return self._replace(arguments=self.arguments[:count], bwd=bwd) if count < everything else self

    def beside(self, reference: Callable[..., Any] | None, surrogate: Callable[..., Any] | None) -> Subject:
        """The same beside a function of the caller's: one of the same value, or one whose gradient is claimed."""
        for name, given in (("reference", reference), ("surrogate", surrogate)):
            if given is not None and not callable(given):
                raise InputError(f"{name} is a function; got {given!r:.80}")
        if reference is not None and surrogate is not None:
            raise InputError("give a reference or a surrogate, and not both")
        if reference is not None:
            return self._replace(primal=reference, primal_is="other code", reference=GIVEN, lines=source_of(reference))
        if surrogate is not None:
            return self._replace(
                primal=surrogate, primal_is="a surrogate", reference=SURROGATE, lines=source_of(surrogate)
            )
        return self


def from_rule(rule: Any, name: str | None = None, count: int = 0) -> Subject:
    """A ``Rule`` or any pair (fwd, bwd)."""
    own_fwd, bwd = rule
    source = source_of(own_fwd)
    own_name = getattr(source, "__qualname__", "rule").replace(".<locals>", "").removesuffix("_fwd")
    called = name or str(own_name).removesuffix(".fwd").removesuffix(".__call__")

    def fwd(*args):
        result = own_fwd(*args)
        if not (isinstance(result, tuple) and len(result) == 2):
            got = f"{len(result)} of them" if isinstance(result, tuple) else type(result).__name__
            raise InputError(f"the forward of {called} returns a pair (y, residuals); got {got}")
        return result

    arguments, required, _ = parameters_of(own_fwd, count)
    return Subject(called, fwd, bwd, lambda *args: fwd(*args)[0], arguments, source, required=required)


def from_layer(layer: Layer, name: str | None = None) -> Subject:
    """A ``Layer``, as a rule on (params, x, key)."""

    def bwd(residuals, dy):
        return (*layer.bwd(residuals, dy), None)

    primal = lambda params, x, key: layer.fwd(params, x, key)[0]  # noqa: E731
    return Subject(name or layer.name, layer.fwd, bwd, primal, ("params", "x", "key"), layer.fwd, required=3)


def from_custom_vjp(f: Any, name: str | None = None, count: int = 0) -> Subject:
    """A ``jax.custom_vjp`` function; the primal is what it decorates, never the function itself.

    Arguments under ``nondiff_argnums`` are as good as integers: they take part and have no cotangent.
    """
    primal_fwd, primal_bwd = getattr(f, "fwd", None), getattr(f, "bwd", None)
    if primal_fwd is None or primal_bwd is None:
        raise InputError(f"expected a jax.custom_vjp function with defvjp called; got {f!r:.80}")
    arguments, required, defaults = parameters_of(f.fun, count)
    nondiff = tuple(i % len(arguments) for i in f.nondiff_argnums)

    def fwd(*args):
        args = (*args, *defaults[len(args) :])
        given = (arg if i in nondiff else as_primals(arg) for i, arg in enumerate(args))
        y, residuals = primal_fwd(*(given if f.symbolic_zeros else args))
        return y, (args, residuals)

    def as_primals(arg):
        return jax.tree.map(lambda leaf: CustomVJPPrimal(leaf, True), arg)

    def bwd(saved, dy):
        args, residuals = saved
        cotangents = primal_bwd(*(args[i] for i in nondiff), residuals, dy)
        if not isinstance(cotangents, tuple | list):
            return cotangents
        cotangents = list(cotangents)
        for i in sorted(nondiff):
            cotangents.insert(i, None)
        return tuple(cotangents)

    source = source_of(f.fun)
    called = name or str(getattr(source, "__name__", "f"))
    return Subject(
        called, fwd, bwd, f.fun, arguments, source, "other code", nondiff, required, UNDECORATED, none_is_zero=True
    )  # fmt: skip


def from_callable(f: Callable[..., Any], name: str | None = None, count: int = 0) -> Subject:
    """Any other function: what JAX makes of it is judged, by whatever rules it calls."""

    def fwd(*args):
        of_moving, moving, _ = _moving(f, args)
        return jax.vjp(of_moving, *moving)[0], args

    def bwd(args, dy):
        of_moving, moving, placed = _moving(f, args)
        _, pullback = jax.vjp(of_moving, *moving)
        return placed(pullback(dy))

    source = source_of(f)
    arguments, required, _ = parameters_of(f, count)
    called = name or str(getattr(source, "__qualname__", "f")).replace(".<locals>", "").removesuffix(".__call__")
    return Subject(called, fwd, bwd, f, arguments, source, "other code", (), required, reference="", by_hand=False)


def _moving(f: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Callable[..., Any], list[Any], Callable[..., Any]]:
    """``f`` of its floating and complex leaves alone, those leaves, and cotangents of them put in their places."""
    leaves, structure = jax.tree.flatten(args)
    places = [i for i, leaf in enumerate(leaves) if is_inexact(leaf)]

    def placed(values: Sequence[Any], others: Sequence[Any] = (None,) * len(leaves)) -> Any:
        filled = dict(enumerate(others)) | dict(zip(places, values, strict=True))
        return jax.tree.unflatten(structure, [filled[i] for i in range(len(leaves))])

    return lambda *values: f(*placed(values, leaves)), [leaves[i] for i in places], placed


def source_of(f: Callable[..., Any]) -> Callable[..., Any]:
    """The function that a person wrote, below decorators and partial applications."""
    while isinstance(f, functools.partial):
        f = f.func
    f = inspect.unwrap(f)
    return f if hasattr(f, "__name__") else getattr(f, "fun", None) or type(f).__call__


def parameters_of(f: Callable[..., Any], count: int) -> tuple[tuple[str, ...], int, tuple[Any, ...]]:
    """The names of the arguments by position, how many of them have no default, and every argument's default.

    If ``f`` takes any number of arguments, there are ``count`` of them.
    """
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError) as error:
        raise InputError(f"the arguments of the forward cannot be read: {error}") from error
    placed = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names, required = [p.name for p in placed], sum(p.default is p.empty for p in placed)
    if rest := next((p.name for p in parameters if p.kind == p.VAR_POSITIONAL), None):
        if not count:
            raise InputError(f"the forward takes any number of arguments (*{rest}): give arrays or symbolic shapes")
        names += [f"{rest}[{i}]" for i in range(count - len(names))]
        required = max(required, count)
    return tuple(names), required, tuple(p.default for p in placed)


# ---------------------------------------------------------------- the subject seen otherwise


class Held:
    """An argument that is not differentiated: it takes part in the forward, and no cotangent is asked for."""

    def __init__(self, value: Any):
        self.value = value

    def beside(self, dtype: Any) -> Any:
        """The value, with its floats as wide as the arguments that are differentiated, if either is float64."""

        def fitted(leaf: Any) -> Any:
            return leaf.astype(dtype) if is_float(leaf) and jnp.float64 in (dtype, leaf.dtype) else leaf

        return jax.tree.map(fitted, self.value)


def hold(args: tuple[Any, ...], positions: Collection[int]) -> tuple[Any, ...]:
    """Arguments with those at ``positions`` held fixed; see ``held``."""
    return tuple(Held(arg) if i in positions and floats_of(arg) else arg for i, arg in enumerate(args))


def held(subject: Subject, positions: Collection[int]) -> Subject:
    """The subject for arguments of which those at ``positions`` may be held fixed."""

    def opened(args: tuple[Any, ...]) -> tuple[Any, ...]:
        dtype = jnp.result_type(*[leaf.dtype for leaf in floats_of(args)] or [float])
        return tuple(arg.beside(dtype) if isinstance(arg, Held) else arg for arg in args)

    def bwd(residuals, dy):
        got = subject.bwd(residuals, dy)
        if not (isinstance(got, tuple | list) and len(got) == len(subject.arguments)):
            return got
        return tuple(None if i in positions else d for i, d in enumerate(got))

    return subject._replace(
        fwd=lambda *args: subject.fwd(*opened(args)), bwd=bwd, primal=lambda *args: subject.primal(*opened(args))
    )


class Complex(NamedTuple):
    """A complex array as two real ones."""

    real: Any
    imag: Any


def in_pairs(subject: Subject) -> Subject:
    """The subject with every complex array as a pair of real ones, so that all that holds for those holds for it.

    JAX's cotangent of z = a + ib is da − i·db, for y as for arguments: the product with a tangent is not conjugated.
    """

    def bwd(residuals, dy):
        return paired(subject.bwd(residuals, joined(dy, -1)), -1)

    def fwd(*args):
        y, residuals = subject.fwd(*joined(args))
        return paired(y), residuals

    return subject._replace(fwd=fwd, bwd=bwd, primal=lambda *args: paired(subject.primal(*joined(args))))


def paired(tree: Any, sign: int = 1) -> Any:
    """``tree`` with every complex array as a ``Complex``."""
    return jax.tree.map(lambda z: Complex(z.real, sign * z.imag) if is_complex(z) else z, tree)


def joined(tree: Any, sign: int = 1) -> Any:
    """The inverse of ``paired``."""
    is_pair = lambda part: isinstance(part, Complex)  # noqa: E731
    return jax.tree.map(lambda p: jax.lax.complex(p.real, sign * p.imag) if is_pair(p) else p, tree, is_leaf=is_pair)
