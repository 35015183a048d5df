"""The checker beside JAX's and PyTorch's.

Wrong backwards are planted in common rules, and given to the checker of funcnet, to jax.test_util.check_grads in
float32 and in float64, and to torch.autograd.gradcheck, each as its documentation calls it, with its own tolerances.
funcnet draws inputs; the others get the first of them. Shows what each catches and names, which right backwards it
takes for wrong, and how long it takes; and what a wrong backward does to a loss curve. To be run from the root of the
repository, as most of the mistakes come from its tests.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.test_util
import numpy as np
from rich.console import Console
from rich.table import Column, Table

import funcnet
from funcnet import Rule, data, gradcheck
from funcnet.progress import step_progress

from .. import harness, mistakes

# A fixed sample of the mistakes that the tests plant: elementwise, softmax, losses, normalisation, matrices.
SAMPLE = (
    "sigmoid_without_upstream", "tanh_slope_fed_the_output", "tanh_upstream_twice", "relu_guided",
    "gelu_cube_without_the_three", "dropout_without_rescaling", "softmax_diagonal", "softmax_row_mean",
    "log_softmax_normaliser_lost", "mse_divided_by_rows_alone", "mse_target_sign", "cross_entropy_without_one_hot",
    "cross_entropy_without_upstream", "huber_zero_far_away", "ridge_half_penalty", "layer_norm_variance_lost",
    "layer_norm_without_epsilon", "batch_norm_unbiased", "dense_bias_summed_over_everything",
    "dense_sigmoid_weight_without_slope", "mlp_through_updated_weights", "mlp_slope_fed_the_output",
)  # fmt: skip
QUICK = ("gelu_cube_without_the_three", "layer_norm_variance_lost", "dx 1.00001 times")
TIMED = "layer_norm_variance_lost"  # the one that cold starts are timed on


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """The seed draws the arrays; --quick takes a few mistakes only."""

    repeats: int = 3
    """Timed checks of each mistake by each checker; one more comes first and is not timed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        harness.at_least(1, repeats=self.repeats)


class Case(NamedTuple):
    """A wrong backward; ``arrays`` if it shows only at certain ones, else they are drawn."""

    name: str
    right: Rule
    bwd: Callable[..., Any]
    mistakes: tuple[str, ...]
    line: str | None
    arrays: tuple[Any, ...] = ()


class Answer(NamedTuple):
    caught: bool
    mistake: str = ""
    line: str | None = None
    report: str = ""


# ---------------------------------------------------------------- the mistakes


def cases() -> list[Case]:
    """The sample from the tests, then those that are hard to see."""
    try:
        planted = importlib.import_module("tests.gradcheck.planted").PLANTED
        forwards = importlib.import_module("tests.gradcheck.forwards").FORWARDS
    except ImportError as error:
        raise harness.InputError("run this from the root of the repository: its mistakes are in tests/") from error
    right = {rule.fwd: rule for rule in forwards.values()}
    by_name = {p.name: p for p in planted}
    chosen = [by_name[name] for name in SAMPLE]
    return [Case(p.name, right[p.rule.fwd], p.rule.bwd, p.mistakes, p.line) for p in chosen] + list(hard(forwards))


def hard(forwards: dict[str, Rule]) -> Iterator[Case]:
    """Mistakes that are small, or that show at particular arrays, shapes or dtypes only."""
    dense, relu, mean, entropy = (forwards[name] for name in ("dense", "relu", "row_mean", "cross_entropy"))

    def spoiled(rule: Rule, spoil: Callable[..., Any]) -> Callable[..., Any]:
        return lambda residuals, dy: spoil(residuals, dy, *rule.bwd(residuals, dy))

    yield Case("dx 1.00001 times", dense, spoiled(dense, lambda r, dy, dx, dw, db: (1.00001 * dx, dw, db)),
               ("wrong-scale",), None)  # fmt: skip
    yield Case("one element of dw 1.00001 times", dense,
               spoiled(dense, lambda r, dy, dx, dw, db: (dx, dw.at[0, 0].multiply(1.00001), db)), (), None)  # fmt: skip
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(256, 7)), rng.integers(7, size=256)
    yield Case("one row of 256, a tenth too large", entropy,
               spoiled(entropy, lambda r, dy, dz, _: (dz.at[37].multiply(1.1), None)), (), None, rows)  # fmt: skip
    yield Case("a mean over 7, written as a constant", mean,
               lambda residuals, dy: (jnp.broadcast_to(dy[:, None] / 7, residuals[0].shape),), (), None)  # fmt: skip
    at_zero = spoiled(relu, lambda r, dy, dx: (jnp.where(r[0] == 0, 2 * dy, dx),))
    yield Case("relu with slope 2 at 0, away from 0", relu, at_zero, (), None)
    zeros = np.where(np.arange(35).reshape(5, 7) % 5 == 0, 0.0, rng.normal(size=(5, 7)))
    yield Case("relu with slope 2 at 0, at exact zeros", relu, at_zero, (), None, (zeros,))
    tail = mistakes.activations.sigmoid_tail
    yield Case("sigmoid by a(1 − a), in its tail", tail.right, tail.bwd, (tail.mistake,), None, tail.inputs)


def arrays_of(case: Case, seed: int) -> tuple[Any, ...]:
    """The arrays that funcnet draws first, in float64."""
    if case.arrays:
        return case.arrays
    return gradcheck.draws(case.right, seed=seed, dtype=jnp.float64)[0].args


# ---------------------------------------------------------------- the checkers


def by_funcnet(rule: Rule, case: Case, seed: int) -> Answer:
    """With the inputs that it draws, the first of which the others get; or with the case's own."""
    report = gradcheck.check(rule, *case.arrays, seed=seed)
    finding = next(iter(report.findings), None)
    named = (finding.mistake, finding.source) if finding else (report.verdict, None)
    return Answer(report.verdict != "correct", *named, str(report))


def of_floats(rule: Rule, args: tuple[Any, ...]) -> tuple[Callable[..., Any], Callable[..., Any], list[Any]]:
    """Forward and backward as functions of the float arguments alone, which is what the others take."""
    floats = [i for i, arg in enumerate(args) if np.issubdtype(np.asarray(arg).dtype, np.floating)]

    def fwd(*given: Any) -> Any:
        full = list(args)
        for i, value in zip(floats, given, strict=True):
            full[i] = value
        return rule.fwd(*full)

    def bwd(residuals: Any, dy: Any) -> tuple[Any, ...]:
        cotangents = rule.bwd(residuals, dy)
        return tuple(cotangents[i] for i in floats)

    return fwd, bwd, [args[i] for i in floats]


def by_check_grads(dtype: Any, rule: Rule, case: Case, seed: int) -> Answer:
    """The rule as a jax.custom_vjp function."""
    with jax.enable_x64(dtype == jnp.float64):
        fwd, bwd, args = of_floats(rule, arrays_of(case, seed))
        f = jax.custom_vjp(lambda *given: fwd(*given)[0])
        f.defvjp(fwd, bwd)
        try:
            jax.test_util.check_grads(f, tuple(jnp.asarray(arg, dtype) for arg in args), order=1, modes=("rev",))
        except Exception as error:  # whatever it raises, the user is told
            return Answer(True, report=str(error))
    return Answer(False)


def by_torch(rule: Rule, case: Case, seed: int) -> Answer:
    """The rule as a torch.autograd.Function, in float64, which torch's checker expects."""
    import torch

    with jax.enable_x64(True):
        fwd, bwd, args = of_floats(rule, arrays_of(case, seed))

        class Function(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *tensors: Any) -> Any:
                y, ctx.residuals = fwd(*(jnp.asarray(t.detach().numpy()) for t in tensors))
                return torch.from_numpy(np.array(y))

            @staticmethod
            def backward(ctx: Any, dy: Any) -> Any:
                return tuple(torch.from_numpy(np.array(g)) for g in bwd(ctx.residuals, jnp.asarray(dy.numpy())))

        tensors = [torch.tensor(np.asarray(arg), dtype=torch.float64, requires_grad=True) for arg in args]
        try:
            torch.autograd.gradcheck(Function.apply, tensors)
        except Exception as error:
            return Answer(True, report=str(error))
    return Answer(False)


CHECKERS: dict[str, Callable[[Rule, Case, int], Answer]] = {
    "funcnet": by_funcnet,
    "check_grads f32": functools.partial(by_check_grads, jnp.float32),
    "check_grads f64": functools.partial(by_check_grads, jnp.float64),
    "torch gradcheck": by_torch,
}


def cold(checker: str) -> None:
    """Prints the seconds of the first two checks in a process: of a right backward, and of a wrong one."""
    if checker.startswith("torch"):
        importlib.import_module("torch")
    case = next(case for case in cases() if case.name == TIMED)
    for bwd in (case.right.bwd, case.bwd):
        start = time.perf_counter()
        CHECKERS[checker](Rule(case.right.fwd, bwd), case, 0)
        print(time.perf_counter() - start)


def cold_seconds(checker: str) -> list[float]:
    code = f"from experiments.benchmarks import gradient_checkers as g; g.cold({checker!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()]


# ---------------------------------------------------------------- a loss curve


def loss_curves(case: Case, steps: int = 300) -> dict[str, float]:
    """The training loss and test accuracy of a 64-32-10 tanh network on digits, by the right and the wrong gradient."""
    digits = data.digits()
    x, test = (jnp.asarray(images.reshape(len(images), -1)) for images in (digits.x_train, digits.x_test))
    rng = np.random.default_rng(0)
    params = tuple(jnp.asarray(0.1 * rng.normal(size=s), jnp.float32) for s in ((64, 32), (32,), (32, 10), (10,)))
    entropy = funcnet.ops.sparse_softmax_cross_entropy()
    found: dict[str, float] = {}
    for kind, bwd in (("right", case.right.bwd), ("wrong", case.bwd)):

        def gradient(params: Any, bwd: Callable[..., Any] = bwd) -> Any:
            logits, saved = case.right.fwd(x, *params)
            loss, residuals = entropy.fwd(logits, digits.y_train)
            return loss, bwd(saved, entropy.bwd(residuals, jnp.ones_like(loss))[0])[1:]

        def step(params: Any, _: None, gradient: Callable[..., Any] = gradient) -> Any:
            loss, grads = gradient(params)
            return jax.tree.map(lambda p, g: p - 0.5 * g, params, grads), loss

        trained, losses = jax.lax.scan(step, params, None, length=steps)
        right = case.right.fwd(test, *trained)[0].argmax(axis=1) == digits.y_test
        found |= {f"{kind}_loss": float(losses[-1]), f"{kind}_accuracy": float(right.mean())}
    return found


# ---------------------------------------------------------------- the comparison


def compare(config: Config, chosen: list[Case]) -> list[dict[str, Any]]:
    """For every case and checker: its answer to the wrong backward and to the right one, and the seconds of each."""
    rows = []
    with step_progress("mistake", len(chosen)) as report:
        for case in chosen:
            row: dict[str, Any] = {"case": case.name}
            for name, checker in CHECKERS.items():
                seconds: dict[str, list[float]] = {"wrong": [], "right": []}
                for kind, bwd in (("wrong", case.bwd), ("right", case.right.bwd)):
                    for _ in range(config.repeats + 1):
                        start = time.perf_counter()
                        answer = checker(Rule(case.right.fwd, bwd), case, config.seed)
                        seconds[kind].append(time.perf_counter() - start)
                    row[f"{name}: {kind}"] = answer._asdict()
                row[f"{name}: seconds"] = {kind: times[1:] for kind, times in seconds.items()}
            rows.append(row)
            report(case.name)
    return rows


def summary(rows: list[dict[str, Any]], chosen: list[Case], first: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    figures = {}
    for name in CHECKERS:
        wrong, right = ([row[f"{name}: {kind}"] for row in rows] for kind in ("wrong", "right"))
        pairs = list(zip(wrong, chosen, strict=True))
        warm = {kind: [s for row in rows for s in row[f"{name}: seconds"][kind]] for kind in ("right", "wrong")}
        unique = {case.right.fwd: answer for answer, case in zip(right, chosen, strict=True) if not case.arrays}
        special = [answer for answer, case in zip(right, chosen, strict=True) if case.arrays]
        alarms = [answer["caught"] for answer in (*unique.values(), *special)]
        figures[name] = {
            "caught": sum(answer["caught"] for answer in wrong),
            "named": sum(answer["mistake"] in case.mistakes for answer, case in pairs),
            "lines": sum(answer["line"] == case.line for answer, case in pairs if case.line),
            "false_alarms": sum(alarms),
            "right_rules": len(alarms),
            "first_right_seconds": first[name][0],
            "second_wrong_seconds": first[name][1],
            "warm_right_seconds": statistics.median(warm["right"]),
            "warm_wrong_seconds": statistics.median(warm["wrong"]),
        }
    return figures


def tables(rows: list[dict[str, Any]], chosen: list[Case], figures: dict[str, dict[str, Any]]) -> Iterator[Table]:
    each = Table(Column("the mistake", no_wrap=True), *CHECKERS, box=None, pad_edge=False)
    each.caption = "- not caught; (!) the right backward is taken for wrong as well"
    each.caption_justify = "left"
    for row in rows:
        answers = [(row[f"{name}: wrong"], row[f"{name}: right"]) for name in CHECKERS]
        said = [(w["mistake"] or "caught") if w["caught"] else "-" for w, _ in answers]
        alarms = [" (!)" if r["caught"] else "" for _, r in answers]
        each.add_row(row["case"].replace("_", " "), *map("".join, zip(said, alarms, strict=True)))
    yield each
    total = Table("", *CHECKERS, box=None, pad_edge=False)
    lines = {
        "mistakes caught": "{caught} of " + str(len(rows)),
        "and named": "{named} of " + str(sum(bool(case.mistakes) for case in chosen)),
        "with the forward's line": "{lines} of " + str(sum(bool(case.line) for case in chosen)),
        "right ones called wrong": "{false_alarms} of {right_rules}",
        "first check in a process, s": "{first_right_seconds:.2f}",
        "second, a mistake, s": "{second_wrong_seconds:.2f}",
        "warm, right, ms": "{warm_right_milliseconds:.0f}",
        "warm, a mistake, ms": "{warm_wrong_milliseconds:.0f}",
    }
    for label, form in lines.items():
        total.add_row(label, *(form.format(**f, **_milliseconds(f)) for f in figures.values()))
    yield total


def _milliseconds(figures: dict[str, Any]) -> dict[str, float]:
    return {f"warm_{kind}_milliseconds": 1000 * figures[f"warm_{kind}_seconds"] for kind in ("right", "wrong")}


def main(config: Config, out: Path) -> None:
    try:
        import torch
    except ImportError as error:
        raise harness.InputError('this compares with PyTorch; run: pip install "funcnet[bench]"') from error
    start = time.perf_counter()
    chosen = [case for case in cases() if case.name in QUICK] if config.quick else cases()
    first = {name: cold_seconds(name) for name in CHECKERS}
    rows = compare(config, chosen)
    figures = summary(rows, chosen, first)
    console = Console(width=130, highlight=False, markup=False)
    for table in tables(rows, chosen, figures):
        console.print(table)
        print()
    quoted = next((row for row in rows if row["case"] == TIMED), rows[0])
    for name in CHECKERS:
        print(f"{name} on {quoted['case']}:\n{quoted[f'{name}: wrong']['report'].strip() or 'nothing'}\n")
    curves = loss_curves(next(case for case in cases() if case.name == "mlp_slope_fed_the_output"))
    print("tanh′ taken at the output, in a network on digits: training loss {wrong_loss:.3f}, test accuracy "
          "{wrong_accuracy:.3f}; right: {right_loss:.3f}, {right_accuracy:.3f}".format(**curves))  # fmt: skip
    metrics = {
        "seed": config.seed, "seconds": time.perf_counter() - start, "checkers": figures, "loss_curve": curves,
        "cases": rows, "torch": str(torch.__version__),
    }  # fmt: skip
    harness.finish(out, "benchmarks.gradient_checkers", config, metrics)


if __name__ == "__main__":
    harness.run("benchmarks.gradient_checkers", main, Config, __doc__)
