"""``funcnet info RUN``: what was trained, how well, with what, and which files are there."""

import argparse
import json
from pathlib import Path
from typing import Any

from ..streams import plain
from .common import add_run, find_run, guarded, read_json

HIDDEN = {"experiment", "config", "device", "jax", "seconds", "seed", "seeds"}  # of metrics.json: no figures, or shown


def add_info(subparsers: Any) -> None:
    """Adds ``info`` to the subcommands of ``funcnet``."""
    command = subparsers.add_parser(
        "info", help="say what a run is", description="Says what a run is, and its figures."
    )
    command.set_defaults(run=info)
    add_run(command)
    command.add_argument("--json", action="store_true", help="one JSON document on standard output, nothing else")


@guarded
def info(arguments: argparse.Namespace) -> None:
    from ..layers import summary
    from ..models import load_model

    run = find_run(arguments.where, "metrics.json", "config.json", "model.json")
    metrics, config = read_json(run / "metrics.json"), read_json(run / "config.json")
    model = load_model(run, arguments.network) if (run / "model.json").exists() else None
    document: dict[str, Any] = {
        "run": str(run),
        "experiment": metrics.get("experiment", config.get("experiment")),
        "finished": bool(metrics),
        **{name: metrics[name] for name in ("seconds", "device", "jax", "seed", "seeds") if name in metrics},
        "figures": {k: v for k, v in metrics.items() if k not in HIDDEN and _is_number(v)},
        "model": None
        if model is None
        else {**_described(model.spec), "summary": summary(model.net, model.spec.in_shape)},
        "config": {k: v for k, v in config.items() if k != "experiment"},
        "files": dict(_files(run)),
    }
    print(json.dumps(document, indent=2) if arguments.json else _text(document))


def _described(spec: Any) -> dict[str, Any]:
    kind = type(spec.inputs).__name__.lower()
    columns = {"columns": [column.name for column in spec.inputs.columns]} if kind == "table" else {}
    return {
        "name": spec.model,
        "settings": spec.settings,
        "inputs": kind,
        "in_shape": list(spec.in_shape),
        **columns,
        "classes": list(spec.classes),
        "target": spec.target,
    }


def _files(run: Path) -> list[tuple[str, int]]:
    """Every file with its bytes; a directory counts all that is below it."""
    found = []
    for path in sorted(run.iterdir()):
        if path.is_dir():
            found.append((f"{path.name}/", sum(p.stat().st_size for p in path.rglob("*") if p.is_file())))
        elif path.is_file() and not path.name.startswith("."):
            found.append((path.name, path.stat().st_size))
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(document: dict[str, Any]) -> str:
    seconds = document.get("seconds")
    took = f", {seconds:.1f} s on {document.get('device')}, jax {document.get('jax')}" if _is_number(seconds) else ""
    lines = {
        "run": document["run"],
        "experiment": f"{document['experiment']}, {'finished' if document['finished'] else 'not finished'}{took}",
        "config": _pairs(document["config"]),
    }
    model = document["model"]
    if model:
        shape = tuple(model["in_shape"])
        columns = f": {', '.join(model.get('columns', ()))}" if model.get("columns") else ""
        lines["model"] = f"{model['name']}: {_pairs(model['settings'])}"
        lines["inputs"] = f"{model['inputs']} {shape}{columns}"
        if model["classes"]:
            shown = ", ".join(model["classes"][:20]) + (", …" if len(model["classes"]) > 20 else "")
            lines["classes"] = f"{model['target'] or ''} {shown}".strip()
        elif model["target"] is not None:
            lines["target"] = model["target"]
    lines["figures"] = _pairs({k: f"{v:.5g}" for k, v in document["figures"].items()})
    lines["files"] = ", ".join(f"{name} {size:,}" for name, size in document["files"].items())
    rows = [f"{name:12}{plain(text)}" for name, text in lines.items() if text]
    return "\n".join([*rows, *(["", model["summary"].rstrip()] if model else [])])


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {' '.join(map(str, v)) if isinstance(v, list) else v}" for name, v in values.items())
