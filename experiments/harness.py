"""What every experiment shares: its flags, its run directory, its metrics, and how it ends on bad input."""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import jax
import simple_parsing

from funcnet.idx import DataError
from funcnet.training import NonFiniteError


class InputError(ValueError):
    """Settings that cannot work together; the message is for the user."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The flags of every experiment; each adds its own."""

    seed: int = 0
    """The first seed: of the split, the initial weights, the order of the examples, dropout."""
    seeds: int = 1
    """How many seeds to run, counting up from the first; with several, mean and spread are reported."""
    data_dir: Path | None = None
    """A directory with the four MNIST files; if not given, FUNCNET_DATA_DIR, else a cache, else a download."""
    out: Path | None = None
    """Where metrics.json and the picture go; if not given, runs/NAME."""
    quick: bool = simple_parsing.field(default=False, action="store_true")
    """A short run that shows that all works, not how well."""

    def __post_init__(self) -> None:
        at_least(0, seed=self.seed)
        at_least(1, seeds=self.seeds)


def at_least(least: int, **values: float) -> None:
    """Raises InputError for a value below ``least``, under the name of its flag."""
    for name, value in values.items():
        if not value >= least:
            raise InputError(f"--{name.replace('_', '-')} is at least {least}; got {value}")


class _Parser(simple_parsing.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


C = TypeVar("C", bound=Config)


def run(name: str, main: Callable[[C, Path], None], config_type: type[C], description: str | None) -> None:
    """Parses the command line and calls ``main(config, out)``, with ``out`` made before anything is computed.

    Bad input is one line on standard error and exit status 2.
    """
    parser = _Parser(
        prog=f"python -m experiments.{name}",
        description=description,
        add_option_string_dash_variants=simple_parsing.DashVariant.DASH,
    )
    parser.add_arguments(config_type, "config")
    try:
        config = parser.parse_args().config
        out = (config.out or Path("runs") / name).expanduser()
        try:
            out.mkdir(parents=True, exist_ok=True)
            (out / "metrics.json").touch()
        except OSError as error:
            raise InputError(f"--out {out}: {error.strerror}") from error
        main(config, out)
    except (DataError, InputError, NonFiniteError, ImportError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        sys.exit(130)


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


def write_metrics(out: Path, name: str, config: Config, figures: Mapping[str, Any]) -> Path:
    """``metrics.json``: what was run, where, on what, and the figures."""
    device = jax.devices()[0]
    metrics = {
        "experiment": name,
        "config": dataclasses.asdict(config),
        "device": f"{device.platform}: {device.device_kind}",
        "jax": jax.__version__,
        **figures,
    }
    path = out / "metrics.json"
    path.write_text(json.dumps(metrics, indent=2, default=str) + "\n")
    return path
