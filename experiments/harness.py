"""Shared by every experiment: flags, the run directory, metrics, and how a run ends on bad input."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import simple_parsing

from funcnet.checkpoint import CheckpointError
from funcnet.data.idx import DataError
from funcnet.devices import Places, Split, mesh
from funcnet.layers import computed_in
from funcnet.models import ModelError, Spec, save_model
from funcnet.streams import Parsing, writable_streams
from funcnet.training import NonFiniteError, value_and_grad
from funcnet.types import Layer, Optimizer, Params, Rule, Shape

from . import rundir

LARGEST_SEED = 2**32 - 1  # what NumPy's older generators, scikit-learn's among them, can take


class InputError(ValueError):
    """Settings that cannot work together; the message is for the user."""


def optional(metavar: str) -> Any:
    """A flag that may be left out; if given, it takes a value."""
    return simple_parsing.field(default=None, nargs=None, metavar=metavar)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The flags of every experiment; each adds its own."""

    seed: int = 0
    """The first seed: of the split, the initial weights, the order of the examples, dropout."""
    seeds: int = 1
    """How many seeds to run, counting up from the first; with several, mean and spread are reported."""
    data_dir: Path | None = optional("DIR")
    """A directory with the four MNIST files; if not given, FUNCNET_DATA_DIR, else a cache, else a download."""
    out: Path | None = optional("DIR")
    """Where the run leaves its files; if not given, a fresh directory: runs/NAME/001, 002, …"""
    resume: bool = simple_parsing.field(default=False, action="store_true")
    """Go on with the run in --out, or with the newest one that has not finished; it ends as if never interrupted."""
    overwrite: bool = simple_parsing.field(default=False, action="store_true")
    """Replace the run that --out holds."""
    quick: bool = simple_parsing.field(default=False, action="store_true")
    """A short run that shows that all works, not how well."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            _possible(field.name, getattr(self, field.name))
        at_least(0, seed=self.seed)
        at_least(1, seeds=self.seeds)
        if self.seed + self.seeds - 1 > LARGEST_SEED:
            raise InputError(f"seeds are at most {LARGEST_SEED}; got --seed {self.seed} --seeds {self.seeds}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mixed(Config):
    """The flags of an experiment whose network may compute in another dtype than it is kept in, and on many devices."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the network computes in; parameters, updates and the loss stay in float32."""

    mesh: str | None = optional("AXES")
    """Devices to train over, as data=4 or data=4,model=2; a CPU makes as many as are asked for."""
    shard: bool = simple_parsing.field(default=False, action="store_true")
    """Share parameters and the optimizer's state out over the mesh's axis data (ZeRO stage 3)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mesh is None and self.shard:
            raise InputError("--shard shares out over the axis data of a --mesh")
        if axes := self._axes():
            with contextlib.suppress(RuntimeError):  # JAX has begun, with as many devices as it has
                jax.config.update("jax_num_cpu_devices", math.prod(axes.values()))

    def _axes(self) -> dict[str, int]:
        """The sizes of the mesh by name. Raises InputError."""
        found = {}
        for part in (self.mesh or "").split(",") if self.mesh is not None else ():
            name, _, size = part.partition("=")
            if name not in ("data", "model") or not size.isdecimal() or int(size) < 1 or name in found:
                raise InputError(f"--mesh names the axes data and model once, as in data=4,model=2; got {self.mesh}")
            found[name] = int(size)
        return found

    def computed(self, net: Layer) -> Layer:
        """The network in this dtype."""
        return net if self.dtype == "float32" else computed_in(net, self.dtype)

    def places(self, batch_size: int, splits: tuple[Split, ...] = ()) -> Places | None:
        """Where arrays lie on the mesh, if there is one. Raises InputError if something cannot be split there."""
        axes = self._axes()
        if not axes:
            return None
        if "model" in axes and not splits:
            raise InputError("--mesh has the axis data alone here: this network has no products that are split")
        if batch_size % axes.get("data", 1):
            raise InputError(f"--batch-size {batch_size} cannot be split evenly over data={axes['data']}")
        try:
            return Places(mesh(**axes), splits, self.shard)
        except ValueError as error:
            raise InputError(f"--mesh {error}") from None


def _possible(name: str, value: Any) -> None:
    """Raises InputError for infinity, and for what no count or rate can be, under the name of its flag."""
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, int | float) and abs(number) > LARGEST_SEED:
            raise InputError(f"--{name.replace('_', '-')} is a number of at most {LARGEST_SEED}; got {number}")


def at_least(least: int, **values: float) -> None:
    """Raises InputError for a value below ``least``, under the name of its flag."""
    for name, value in values.items():
        if not value >= least:
            raise InputError(f"--{name.replace('_', '-')} is at least {least}; got {value}")


def positive(**values: float) -> None:
    """Raises InputError for a value that is not above 0 and finite, under the name of its flag."""
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise InputError(f"--{name.replace('_', '-')} is above 0; got {value}")


def require_finite(tree: Any, **rate: float) -> None:
    """Blames the learning rate, under the name of its flag, for NaN or infinity in any array of ``tree``."""
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)):
        ((name, value),) = rate.items()
        raise InputError(f"--{name.replace('_', '-')} {value} is too large: training met NaN or infinity")


class _Parser(Parsing, simple_parsing.ArgumentParser):
    """Of an experiment."""


C = TypeVar("C", bound=Config)


def run(name: str, main: Callable[[C, Path], None], config_type: type[C], description: str | None) -> None:
    """Parses the command line and calls ``main(config, out)``, with ``out`` made and held before anything is computed.

    Bad input is one line on standard error and exit status 2; so is a full disk, or too little memory. No output ends a
    run in a traceback: see ``writable_streams``.
    """
    parser = _Parser(
        prog=f"python -m experiments.{name}",
        description=description,
        add_option_string_dash_variants=simple_parsing.DashVariant.DASH,
    )
    parser.add_arguments(config_type, "config")
    try:
        with writable_streams(parser.prog):
            config = parser.parse_args().config
            given = config.out and config.out.expanduser()
            with _writable(given or rundir.RUNS):
                out = rundir.choose(name, given, config.resume, config.overwrite)
                with rundir.held(out, {"experiment": name, **settings(config)}, config.resume):
                    main(config, out)
    except (DataError, InputError, NonFiniteError, CheckpointError, ModelError, rundir.RunError, ImportError) as error:
        parser.fail(str(error))
    except (MemoryError, OverflowError, jax.errors.JaxRuntimeError) as error:
        said = next(iter(str(error).splitlines()), "")
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in said:
            raise
        parser.fail(f"these sizes are more than this machine can hold: {said:.200}")
    except KeyboardInterrupt:
        sys.exit(130)


@contextlib.contextmanager
def _writable(out: Path) -> Iterator[None]:
    """Blames --out for what the system refuses to do to a file in it."""
    try:
        yield
    except OSError as error:
        file = Path(error.filename or "")
        if not error.filename or not (file == out or out in file.parents or file in out.parents):
            raise
        raise InputError(f"--out {file}: {error.strerror}") from error


# ---------------------------------------------------------------- memory


def require_room(
    net: Layer,
    in_shape: Shape,
    optimizer: Optimizer,
    *,
    batch_size: int,
    evaluated: int = 0,
    networks: int = 1,
    dtype: Any = np.float32,
) -> None:
    """Raises InputError if the training would not fit in memory; nothing is allocated.

    It counts parameters, gradients, optimizer state and what the forward of a batch saves, times ``networks``, or, if
    that is more, the largest array among what the forward of ``evaluated`` examples computes. ``dtype`` is that of x.
    """

    def training(key, x):
        params, _ = net.init(key, in_shape)
        saved = net.fwd(params, x, key)
        own = {id(leaf) for leaf in jax.tree.leaves(params)}  # weights among the residuals are no copies
        return params, params, optimizer.init(params), [leaf for leaf in jax.tree.leaves(saved) if id(leaf) not in own]

    def evaluation(key, x):
        params, _ = net.init(key, in_shape)
        return net.fwd(params, x)

    def sizes(function, examples) -> list[int]:
        shapes = jax.eval_shape(function, jax.random.key(0), jax.ShapeDtypeStruct((examples, *in_shape), dtype))
        return [math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes)]

    require_memory(max(networks * sum(sizes(training, batch_size)), *sizes(evaluation, evaluated)))


def require_memory(needed: float) -> None:
    """Raises InputError for more bytes than the device has, or, if it is the CPU, the machine."""
    there = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit", machine_bytes())
    if needed > there:
        gib = 1 << 30
        raise InputError(f"these sizes need {needed / gib:,.1f} GiB of memory; there are {there / gib:,.1f} GiB")


def machine_bytes() -> int:
    """The memory of this machine, or of the container if that has less."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            there = min(there, int(limit.read_text()))
    return there


# ---------------------------------------------------------------- the gradients


TOLERANCE = 1e-10  # of the hand gradient in float64, relative to the largest entry of its leaf


def compare_gradients(net: Layer, loss: Rule, params: Params, x: Any, targets: Any, key: Any) -> None:
    """Prints how far the hand-written gradient is from ``jax.grad``'s, and ends the run if that is too far."""
    error, leaf = gradient_error(net, loss, params, x, targets, key)
    print(f"hand-written gradient against jax.grad, float64: largest relative error {error:.1e}, at {leaf}")
    if not error < TOLERANCE:
        raise SystemExit(f"that is more than {TOLERANCE}: the derivation is wrong, and is not trained with")


def gradient_error(net: Layer, loss: Rule, params: Params, x: Any, targets: Any, key: Any) -> tuple[float, str]:
    """The largest error of the hand-written gradient against ``jax.grad``, in float64, and its leaf.

    Each leaf's error is relative to the largest entry of that leaf.
    """
    with jax.enable_x64(True):
        params = jax.tree.map(lambda p: jnp.asarray(np.asarray(p), jnp.float64), params)
        x = jnp.asarray(x, jnp.float64)
        targets = jnp.asarray(targets, jnp.float64 if np.asarray(targets).dtype.kind == "f" else None)

        @jax.jit  # both in one program: it is compiled in half the time
        def both(params, x):
            automatic = jax.grad(lambda p: loss.fwd(net.fwd(p, x, key)[0], targets)[0])(params)
            return value_and_grad(net, loss)(params, x, targets, key)[1], automatic

        hand, automatic = both(params, x)
        errors = jax.tree.map(_relative_error, hand, automatic)
    path, error = max(jax.tree_util.tree_leaves_with_path(errors), key=lambda item: item[1])
    return error, "params" + jax.tree_util.keystr(path)


def _relative_error(hand, automatic) -> float:
    """Of the largest entry, unless all are zero (a dead unit); infinite for NaN, which no comparison would find."""
    error, scale = float(jnp.abs(hand - automatic).max()), float(jnp.abs(automatic).max())
    return float(np.nan_to_num(error / scale if scale else error, nan=np.inf))


def over_seeds(config: Config, run_one: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    """``run_one(seed)`` for every seed; each result gains its ``seed`` and ``seconds``."""
    results = []
    for seed in range(config.seed, config.seed + config.seeds):
        start = time.perf_counter()
        result = run_one(seed)
        results.append({"seed": seed, "seconds": time.perf_counter() - start, **result})
    return results


def summarise(results: list[dict[str, Any]]) -> dict[str, Any]:
    """One seed's figures as they are; of several, the mean of every number and its ``_std`` (ddof 1), and each."""
    if len(results) == 1:
        return results[0]
    numbers = [k for k, v in results[0].items() if isinstance(v, int | float) and k not in ("seed", "seconds")]
    summary: dict[str, Any] = {"seed": results[0]["seed"], "seeds": len(results)}
    summary["seconds"] = sum(result["seconds"] for result in results)
    for key in numbers:
        values = [result[key] for result in results]
        summary |= {key: statistics.fmean(values), f"{key}_std": statistics.stdev(values)}
    return summary | {"per_seed": results}


def settings(config: Config) -> dict[str, Any]:
    """The flags that decide what a run computes; the others only say where, and whether to go on."""
    where = ("out", "resume", "overwrite", "mesh", "shard")
    return {k: v for k, v in dataclasses.asdict(config).items() if k not in where}


def finish(
    out: Path,
    name: str,
    config: Config,
    figures: Mapping[str, Any],
    *pictures: Path,
    model: tuple[Spec, Params] | None = None,
) -> None:
    """Writes history.csv, the trained model, and metrics.json: what was run, where, on what, and the figures.

    Says what was written. The pictures are there already, and metrics.json comes last: a run that has it has finished.
    """
    models = [] if model is None else [save_model(out, *model)]
    rundir.write_history(out, figures.get("per_seed", [figures]))
    device = jax.devices()[0]
    metrics = {
        "experiment": name,
        "config": dataclasses.asdict(config),
        "device": f"{device.platform}: {device.device_kind}",
        "jax": jax.__version__,
        **figures,
    }
    files = [rundir.write_json(out / rundir.METRICS, metrics), *models, *pictures]
    print(f"wrote {' and '.join(filter(None, (', '.join(map(str, files[:-1])), str(files[-1]))))}")
