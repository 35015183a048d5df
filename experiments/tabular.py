"""A table of your own, classified or regressed.

From a CSV file and the name of a column, a perceptron learns to predict that column from the others: a class if it
holds texts or a few whole numbers, else a number. Numbers are standardised, categories are one feature each, and what
is missing is said and handled, all of it as the training rows alone suggest. Prints what it makes of each column, the
figures on the rows held out, and those of guessing the commonest class or the mean, and of a linear model; writes
metrics.json, tabular.png and the model: python -m funcnet predict RUN OTHER.csv.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import simple_parsing

import funcnet
from funcnet import data, ops, optimizers
from funcnet.data.tables import CATEGORIES, encode, is_numeric, learn_columns, names_of, read_csv
from funcnet.models import Spec, Table
from funcnet.training import Fit

from . import harness, rundir
from .pictures import table

LOSSES = {"classification": ops.sparse_softmax_cross_entropy(), "regression": ops.mean_squared_error()}
CLASSES = 20  # different whole numbers in a target at most: with more it is a regression
LEAST = 20  # rows
LARGEST = 1e30  # number in a target, so that squares of errors are finite


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(harness.Config):
    """The table, the network, and how it is trained."""

    file: Path = simple_parsing.field(positional=True, metavar="FILE.csv")
    """A table with a line of names."""
    target: str = simple_parsing.field(metavar="COLUMN")
    """The column to predict."""
    task: Literal["auto", "classification", "regression"] = "auto"
    """If auto, by the target: regression of numbers, unless they are few and whole."""
    leave_out: tuple[str, ...] = ()
    """Columns not to learn from: numbers of rows, or what is known only afterwards."""
    separator: str = ","
    """What stands between cells."""
    held_out: float = 0.2
    """The share of rows that is not trained with, and that the figures are of."""
    hidden: tuple[int, ...] = (64, 64)
    """The units of each hidden layer, with relu."""
    epochs: int = 200
    """How many times the training rows are gone through at most."""
    patience: int = 20
    """It stops after so many epochs without a smaller loss on a tenth of the training rows, kept apart for that."""
    batch_size: int = 32
    """Rows to a step; all of them if there are fewer."""
    learning_rate: float = 1e-3
    """Of AdamW."""
    weight_decay: float = 3.0
    """Of AdamW, times the learning rate."""
    dropout: float = 0.1
    """The probability to drop a hidden unit in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        harness.at_least(
            1,
            epochs=self.epochs,
            patience=self.patience,
            batch_size=self.batch_size,
            hidden=min(self.hidden, default=1),
        )
        harness.at_least(0, weight_decay=self.weight_decay)
        harness.positive(learning_rate=self.learning_rate)
        for name, share in {"held-out": self.held_out or -1, "dropout": self.dropout}.items():
            if not 0 <= share < 1:
                raise harness.InputError(f"--{name} is a share below 1; got {share if share >= 0 else 0.0}")
        if len(self.separator) != 1:
            raise harness.InputError(f"--separator is one character; got {self.separator!r}")


class Loaded(NamedTuple):
    """The table as arrays, and what makes arrays of more rows."""

    dataset: data.Dataset
    spec: Spec
    said: list[str]


def load(config: Config, seed: int) -> Loaded:
    """Reads, splits, and learns columns, means and deviations from the training rows.

    Raises DataError or InputError for a table that nothing can be learned from.
    """
    from sklearn.model_selection import train_test_split

    frame, y, classes, said = targets(config, read_csv(config.file, config.separator))
    inputs = frame.drop(columns=[config.target, *config.leave_out])
    try:
        train, test = train_test_split(
            np.arange(len(y)), test_size=config.held_out, stratify=y if classes else None, random_state=seed
        )
    except ValueError as error:
        raise harness.InputError(f"--held-out {config.held_out}: {str(error).splitlines()[0]}") from None
    columns, learned = learn_columns(inputs.iloc[train])
    if not columns:
        raise harness.InputError(f"{config.file} has no column to learn from: {'; '.join(learned)[:200] or 'no other'}")
    x = encode(columns, inputs)[0]
    mean, std = standard(x[train])
    settings = {"hidden": config.hidden, "outputs": len(classes) or 1, "dropout_rate": config.dropout}
    table = Table(tuple(columns), tuple(mean.tolist()), tuple(std.tolist()), config.separator)
    centre, scale = (float(y[train].mean()), float(y[train].std()) or 1.0) if not classes else (0.0, 1.0)
    spec = Spec("mlp", settings, (x.shape[1],), table, tuple(classes), config.target, centre, scale)
    x = (x - mean) / std
    return Loaded(data.Dataset(x[train], y[train], x[test], y[test]), spec, said + learned)


def targets(config: Config, frame: Any) -> tuple[Any, np.ndarray, list[str], list[str]]:
    """The rows whose target can be learned, the targets, the classes, if they are any, and what was left out."""
    for name in (config.target, *config.leave_out):
        if name not in frame.columns:
            hint = "; is --separator right?" if len(frame.columns) == 1 else ""
            shown = ", ".join(map(str, frame.columns[:12]))
            raise harness.InputError(f"{config.file} has no column {name!r}; it has {shown:.200}{hint}")
    rows, said, classes = len(frame), list[str](), list[str]()
    truth = frame[config.target]
    if is_numeric(truth):
        truth = truth.replace([np.inf, -np.inf], np.nan)
    if missing := int(truth.isna().sum()):
        said.append(f"{config.target}: {missing} of {rows} values missing; these rows are left out")
        frame, truth = frame[truth.notna()], truth[truth.notna()]
    y = truth.to_numpy()
    if task_of(config, truth) == "classification":
        names = np.array(names_of(y))
        found, counts = np.unique(names, return_counts=True)
        if lonely := found[counts < 2].tolist():
            said.append(f"{config.target}: left out, as they stand in one row each: {', '.join(lonely)[:200]}")
        kept = ~np.isin(names, lonely)
        frame, names, classes = frame[kept], names[kept], sorted(found[counts >= 2].tolist(), key=_natural)
        if len(classes) > CATEGORIES:
            raise harness.InputError(f"{config.target} has {len(classes)} classes; expected at most {CATEGORIES}")
        y = np.array([classes.index(name) for name in names])
    elif np.abs(y).max(initial=0) > LARGEST:
        raise harness.InputError(f"{config.target} holds {np.abs(y).max():g}; expected at most {LARGEST:g}")
    different = len(set(y.tolist()))
    if len(y) < LEAST or different < 2:
        wanted = f"expected at least {LEAST} rows and two values"
        raise harness.InputError(
            f"{config.file} has {len(y)} rows to use, with {different} values of {config.target}; {wanted}"
        )
    return frame, y.astype(np.int32 if classes else np.float32), classes, said


def task_of(config: Config, truth: Any) -> str:
    """Regression of numbers, unless they are few and whole; a set --task is only refused for texts."""
    if not is_numeric(truth):
        if config.task == "regression":
            raise harness.InputError(f"--task regression: {config.target} holds {str(truth.iloc[0])!r:.40}, no number")
        return "classification"
    if config.task != "auto":
        return config.task
    values = truth.unique()
    return "classification" if len(values) <= CLASSES and (values == np.floor(values)).all() else "regression"


def standard(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each feature, in float32; a deviation of 0 becomes 1."""
    mean, std = x.astype(np.float64).mean(axis=0), x.astype(np.float64).std(axis=0)
    return mean.astype(np.float32), np.where(std > 1e-12 * np.abs(mean), std, 1).astype(np.float32)


def _natural(name: str) -> tuple[int, float, str]:
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name


# ---------------------------------------------------------------- training and figures


def train(config: Config, loaded: Loaded, seed: int, compare: bool, out: Path | None) -> tuple[Fit, np.ndarray]:
    """Trains (or goes on in ``out``), and stops by a tenth of the training rows.

    Returns also what it makes of the test rows: probabilities, or values in the target's unit.
    """
    spec, dataset = loaded.spec, loaded.dataset
    net, loss = funcnet.models.build(spec.model, spec.settings), LOSSES[kind_of(spec)]
    y = dataset.y_train if spec.classes else ((dataset.y_train - spec.mean) / spec.std)[:, None]
    few = len(y) // 10  # the split has drawn the order of the rows
    watched, rows = (dataset.x_train[:few], y[:few]), (dataset.x_train[few:], y[few:])
    init_key, fit_key = jax.random.split(jax.random.key(seed))
    optimizer = optimizers.adamw(config.learning_rate, weight_decay=config.weight_decay)
    sizes = {"batch_size": min(config.batch_size, len(rows[1])), "evaluated": len(dataset.x_test)}
    harness.require_room(net, spec.in_shape, optimizer, **sizes)
    params, _ = net.init(init_key, spec.in_shape)
    if compare:
        harness.compare_gradients(net, loss, params, rows[0][:64], rows[1][:64], fit_key)
    result = funcnet.fit(
        net,
        loss,
        optimizer,
        params,
        rows,
        watched,
        key=fit_key,
        epochs=min(config.epochs, 5) if config.quick else config.epochs,
        batch_size=sizes["batch_size"],
        patience=config.patience,
        metrics={"accuracy": funcnet.accuracy} if spec.classes else {},
        checkpoints=rundir.checkpoints(out, f"seed_{seed}"),
    )
    logits = net.fwd(result.params, dataset.x_test)[0]
    given = ops.softmax.fwd(logits)[0] if spec.classes else logits[:, 0] * spec.std + spec.mean
    return result, np.asarray(given)


def kind_of(spec: Spec) -> str:
    return "classification" if spec.classes else "regression"


def figures_of(spec: Spec, truth: np.ndarray, given: np.ndarray, prefix: str = "test_") -> dict[str, float]:
    """Accuracy and cross-entropy of probabilities; root mean squared error, mean absolute error and R² of values."""
    if spec.classes:
        of_truth = np.maximum(given[np.arange(len(truth)), truth], 1e-30)
        return {
            f"{prefix}accuracy": float((given.argmax(axis=1) == truth).mean()),
            f"{prefix}loss": float(-np.log(of_truth).mean()),
        }
    error, spread = given - truth.astype(np.float64), truth.astype(np.float64).var()
    return {
        f"{prefix}rmse": float(np.sqrt((error**2).mean())),
        f"{prefix}mae": float(np.abs(error).mean()),
        f"{prefix}r2": float(1 - (error**2).mean() / spread) if spread else 0.0,
    }


def baselines(loaded: Loaded) -> dict[str, float]:
    """The figures of the commonest class or the mean, and of scikit-learn's linear model, on the same split."""
    from sklearn.linear_model import LogisticRegression, Ridge

    spec, (x, y, x_test, y_test) = loaded.spec, loaded.dataset
    if spec.classes:
        shares = np.bincount(y, minlength=len(spec.classes)) / len(y)
        linear = LogisticRegression(max_iter=2000).fit(x, y)
        of_linear = np.zeros((len(x_test), len(spec.classes)))
        of_linear[:, linear.classes_] = linear.predict_proba(x_test)
        guess = np.tile(shares, (len(y_test), 1))
    else:
        guess, of_linear = np.full(len(y_test), y.mean()), Ridge().fit(x, y).predict(x_test)
    return {**figures_of(spec, y_test, guess, "guess_"), **figures_of(spec, y_test, of_linear, "linear_")}


def main(config: Config, out: Path) -> None:
    runs: list[tuple[Loaded, Fit, np.ndarray]] = []  # the first alone is drawn and saved

    def run_one(seed: int) -> dict[str, Any]:
        loaded = load(config, seed)
        if not runs:
            describe(config, loaded)
        fit, given = train(config, loaded, seed, compare=not runs, out=out)
        if not runs:
            runs.append((loaded, fit, given))
        found = {**figures_of(loaded.spec, loaded.dataset.y_test, given), **baselines(loaded)}
        return {**found, "history": fit.history}

    summary = harness.summarise(harness.over_seeds(config, run_one))
    names = [name.removeprefix("test_") for name in summary if name.startswith("test_") and not name.endswith("_std")]
    for title, prefix in (("guessing", "guess_"), ("linear model", "linear_"), ("this network", "test_")):
        print(f"{title:13}", ", ".join(f"{name} {summary[prefix + name]:.4g}" for name in names))
    loaded, fit, given = runs[0]
    picture = out / "tabular.png"
    table.draw(picture, config.file.name, loaded.spec, fit.history, loaded.dataset.y_test, given, summary)
    harness.finish(out, "tabular", config, summary, picture, model=(loaded.spec, fit.params))


def describe(config: Config, loaded: Loaded) -> None:
    """Prints the rows, the task, and each sentence about a column."""
    spec, dataset = loaded.spec, loaded.dataset
    what = f"{len(spec.classes)} classes" if spec.classes else "a number"
    assert isinstance(spec.inputs, Table)
    columns = f"{len(spec.inputs.columns)} columns, {spec.in_shape[0]} features"
    print(f"{config.file}: {len(dataset.x_train)} rows to train on, {len(dataset.x_test)} held out; {columns}")
    print(f"{config.target}: {what}, so {kind_of(spec)}")
    for line in loaded.said:
        print(line)


if __name__ == "__main__":
    harness.run("tabular", main, Config, __doc__)
