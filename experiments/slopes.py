"""Slopes by small steps, and how small.

The note's slope (f(x + ε) − f(x))/ε against the derivative by hand, as ε shrinks: an error of the formula, which falls
with a power of ε, and one of rounding, which grows as ε shrinks, meet in a V. Forward and central differences,
Richardson's extrapolation and the complex step, in float64 and float32: prints the slopes of the note's x² and
2ac + 3b, which are 2x and 2c, and the best ε of each method beside what theory says. Writes metrics.json and
slopes.png.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Column, Table

from . import harness
from .pictures import steps

Function = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """The function whose slope is taken, at points drawn from [-1, 1] by the seed."""

    function: Literal["exp", "sigmoid", "tanh"] = "exp"
    """The function whose slope is sought."""
    points: int = 1000
    """At how many points; an error is the median over them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        harness.at_least(100, points=self.points)


# ---------------------------------------------------------------- functions, each with its derivative by hand


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


FUNCTIONS: dict[str, tuple[Function, Function]] = {
    "exp": (np.exp, np.exp),
    "sigmoid": (sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
}
A, B, C = 2.0, -3.0, 10.0
OF_THE_NOTE: list[tuple[str, Function, float, float]] = [  # what, f, where, the slope there
    ("x² at x = 3: 2x", lambda x: x * x, 3.0, 2 * 3.0),
    ("2ac + 3b by a: 2c", lambda a: 2 * a * C + 3 * B, A, 2 * C),
]


# ---------------------------------------------------------------- slopes


def forward(f: Function, x: Any, e: Any) -> Any:
    """(f(x + ε) − f(x))/ε = f′ + ½ε f″ + …"""
    return (f(x + e) - f(x)) / e


def central(f: Function, x: Any, e: Any) -> Any:
    """(f(x + ε) − f(x − ε))/2ε = f′ + ⅙ε² f‴ + …: by symmetry there is no odd power."""
    return (f(x + e) - f(x - e)) / (2 * e)


def richardson(f: Function, x: Any, e: Any) -> Any:
    """(4 D(ε/2) − D(ε))/3 of central differences D: their error in ε² cancels, that in ε⁴ is left."""
    return (4 * central(f, x, e / 2) - central(f, x, e)) / 3


def complex_step(f: Function, x: Any, e: Any) -> Any:
    """Im f(x + iε)/ε = f′ − ⅙ε² f‴ + …: nothing is subtracted, so that nothing cancels (Squire & Trapp 1998)."""
    return f(x + 1j * e).imag / e


class Method(NamedTuple):
    """A slope, the power p of ε by which its formula errs, and whether the rounding error u is divided by ε."""

    slope: Callable[[Function, Any, Any], Any]
    order: int
    cancels: bool
    formula: str

    def best_step(self, unit: float) -> float:
        """Where εᵖ meets u/ε: ε = u^(1/(p + 1)); where it meets u alone: u^(1/p), and there is no better below."""
        return unit ** (1 / (self.order + self.cancels))

    def best_error(self, unit: float) -> float:
        """εᵖ at the best ε, for a function whose derivatives are all of size 1."""
        return self.best_step(unit) ** self.order


METHODS = {
    "forward": Method(forward, 1, True, "u^(1/2)"),
    "central": Method(central, 2, True, "u^(1/3)"),
    "Richardson": Method(richardson, 4, True, "u^(1/5)"),
    "complex step": Method(complex_step, 2, False, "≤ u^(1/2)"),
}
DTYPES = ("float64", "float32")


def unit(dtype: str) -> float:
    """The rounding unit u: half the distance from 1 to the next number."""
    return float(np.finfo(dtype).eps) / 2


class Curve(NamedTuple):
    """The relative error of a method in a dtype by ε, the median over the points."""

    method: str
    dtype: str
    steps: np.ndarray
    errors: np.ndarray

    def best(self) -> tuple[float, float]:
        """The largest ε whose error is the smallest or within a quarter of it, and that error."""
        at = int(np.argmax(self.errors <= 1.25 * self.errors.min()))  # ε falls
        return float(self.steps[at]), float(self.errors[at])

    def order(self) -> float:
        """The power of ε that the error falls by: a line through what lies above the best ε."""
        arm = self.steps >= 1.5 * self.best()[0]
        return float(np.polyfit(np.log(self.steps[arm]), np.log(self.errors[arm]), 1)[0])


def curve(method: str, dtype: str, function: str, points: np.ndarray) -> Curve:
    """Eight ε to a power of ten, from 1 down to a tenth of the rounding unit; all arithmetic is in ``dtype``."""
    f, df = FUNCTIONS[function]
    x = points.astype(dtype)
    exact = df(x.astype(np.longdouble))  # the widest there is: in float64, float64 would seem to be exact
    tried = (10 ** np.arange(0, np.log10(unit(dtype)) - 1, -0.125)).astype(dtype)
    found = np.array([METHODS[method].slope(f, x, e) for e in tried])
    assert found.dtype == dtype, "a wider type has crept in"
    errors = np.median(np.abs(found / exact - 1), axis=1)
    return Curve(method, dtype, tried.astype(np.float64), errors.astype(np.float64))


# ---------------------------------------------------------------- what is shown


def note_table() -> Table:
    """The note's two examples by every method at the ε that theory says is best, in float64."""
    table = Table("slope of", Column("by hand", justify="right"), box=None, pad_edge=False)
    for name in METHODS:
        table.add_column(name, justify="right")
    for what, f, x, slope in OF_THE_NOTE:
        by_steps = [method.slope(f, x, method.best_step(unit("float64"))) for method in METHODS.values()]
        table.add_row(what, f"{slope:g}", *(f"{found - slope:+.0e}" for found in by_steps))
    return table


def best_table(figures: dict[str, Any]) -> Table:
    table = Table("", "method", box=None, pad_edge=False)
    for heading in ("best ε", "theory", "", "error", "theory", "falls as"):
        table.add_column(heading, justify="right")
    for dtype in DTYPES:
        for name, method in METHODS.items():
            step, error, order = (figures[f"{dtype} {name}: {what}"] for what in ("best_step", "best_error", "order"))
            theory = method.best_step(unit(dtype)), method.best_error(unit(dtype))
            table.add_row(dtype if method is METHODS["forward"] else "", name, f"{step:.1e}", f"{theory[0]:.1e}",
                          method.formula, f"{error:.1e}", f"{theory[1]:.1e}", f"ε^{order:.2f}")  # fmt: skip
    return table


def run_seed(config: Config, keep: list[Curve], seed: int) -> dict[str, Any]:
    """The figures of every method; ``keep`` gets the curves of the first seed."""
    points = np.random.default_rng(seed).uniform(-1, 1, config.points)
    curves = [curve(name, dtype, config.function, points) for dtype in DTYPES for name in METHODS]
    if not keep:
        keep += curves
    figures: dict[str, Any] = {}
    for c in curves:
        step, error = c.best()
        figures |= {f"{c.dtype} {c.method}: {what}": value
                    for what, value in (("best_step", step), ("best_error", error), ("order", c.order()))}  # fmt: skip
    return figures


def main(config: Config, out: Path) -> None:
    if config.quick:
        config = dataclasses.replace(config, points=min(config.points, 100))
    harness.require_memory(140 * 3 * np.longdouble(0).nbytes * config.points)  # some 140 ε, and temporaries
    curves: list[Curve] = []
    figures = harness.summarise(harness.over_seeds(config, functools.partial(run_seed, config, curves)))
    console = Console()
    console.print("The note's examples in float64: the error of each method at its best ε")
    console.print(note_table())
    console.print(f"\nThe slope of {config.function} at {config.points} points of [-1, 1]; u is the rounding unit")
    console.print(best_table(figures))
    picture = out / "slopes.png"
    steps.draw(picture, config.function, {dtype: [c for c in curves if c.dtype == dtype] for dtype in DTYPES}, {
        (c.method, c.dtype): (METHODS[c.method].best_step(unit(c.dtype)), METHODS[c.method].formula) for c in curves
    })  # fmt: skip
    harness.finish(out, "slopes", config, figures | {
        "curves": [{"method": c.method, "dtype": c.dtype, "steps": c.steps.tolist(), "errors": c.errors.tolist()}
                   for c in curves],
    }, picture)  # fmt: skip


if __name__ == "__main__":
    harness.run("slopes", main, Config, __doc__)
