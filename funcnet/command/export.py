"""``funcnet export RUN -o FILE``: the forward of a trained model, for programs that know nothing of funcnet."""

from __future__ import annotations

import argparse
import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..files import write_whole
from .common import CommandError, add_run, guarded, load

if TYPE_CHECKING:
    from ..models import Model

PLATFORMS = ("cpu", "cuda", "tpu")
TOLERANCE = 1e-4  # of the largest output: compilers of another make order their sums in another way

DESCRIPTION = """\
Writes the forward of a trained model, weights included, with a batch of any size: images in [0, 1], rows of a table in
their own units, or bytes as int32; to probabilities, values of the target, or what the network gives. By default as a
serialized jax.export artifact, for CPU, CUDA and TPU; it is called by
  jax.export.deserialize(bytearray(open(FILE, "rb").read())).call(x)
in an environment with jax and flatbuffers. With --onnx as an ONNX model. What is written is first compared with RUN."""


def add_export(subparsers: Any) -> None:
    """Adds ``export`` to the subcommands of ``funcnet``."""
    command = subparsers.add_parser(
        "export", help="write a trained model for use without funcnet", description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    command.set_defaults(run=export)
    add_run(command)
    command.add_argument("-o", "--out", required=True, metavar="FILE", help="the file to write")
    command.add_argument("--onnx", action="store_true", help="as ONNX, by jax2onnx")


@guarded
def export(arguments: argparse.Namespace) -> None:
    model, out = load(arguments), Path(arguments.out)
    if not out.parent.is_dir():
        raise CommandError(f"--out {out}: there is no directory {out.parent}")
    if out.exists() and not out.is_file():  # a directory, or a device, which the new file would replace
        raise CommandError(f"--out {out}: is no regular file")
    content, call, says = (to_onnx if arguments.onnx else to_jax)(model)
    error = _largest_error(model, call)
    if not error < TOLERANCE:
        raise CommandError(f"what was exported is off by {error:.1e} of the largest output, and is not written")
    write_whole(out, content)
    print(f"wrote {out}: {len(content):,} bytes, {says}; read again, off by {error:.1e} at most")


def to_jax(model: Model) -> tuple[bytes, Callable[[Any], Any], str]:
    """The artifact of jax.export, a call of it as read again, and a line that describes it."""
    import jax

    try:
        import flatbuffers  # noqa: F401
    except ImportError as error:
        raise ImportError(f'export needs flatbuffers ({error}); run: pip install "funcnet[export]"') from error
    limit = [f"t <= {model.spec.in_shape[0]}"] if _any_length(model) else []
    names = "b, t" if _any_length(model) else ", ".join(["b", *map(str, model.spec.in_shape)])
    shape = jax.export.symbolic_shape(names, constraints=limit)
    exported = jax.export.export(_forward(model), platforms=PLATFORMS)(jax.ShapeDtypeStruct(shape, _dtype(model)))
    content = bytes(exported.serialize())
    (given,), (gives,) = exported.in_avals, exported.out_avals
    says = f"{given.dtype}{list(given.shape)} to {gives.dtype}{list(gives.shape)}".replace("'", "")
    return content, jax.jit(jax.export.deserialize(bytearray(content)).call), f"{says} for {', '.join(PLATFORMS)}"


def to_onnx(model: Model) -> tuple[bytes, Callable[[Any], Any], str]:
    """The ONNX model, a call of it by onnxruntime, and a line that describes it."""
    import jax

    try:
        import jax2onnx
        import onnxruntime
    except ImportError as error:
        raise ImportError(f'--onnx needs {error.name}; run: pip install "funcnet[onnx]"') from error
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    onnxruntime.set_default_logger_severity(3)
    for batch in (jax.export.symbolic_shape("B")[0], 1):
        given = jax.ShapeDtypeStruct((batch, *model.spec.in_shape), _dtype(model))
        # traced here: while jax2onnx traces, it replaces functions of jax.numpy, and some of its own lose the dtype
        traced = jax.make_jaxpr(_forward(model))(given)
        try:
            made = jax2onnx.to_onnx(functools.partial(jax.core.eval_jaxpr, traced.jaxpr, traced.consts), [given])
            content = made.SerializeToString()
            session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
            break
        except Exception as error:  # jax2onnx does not know everything, and convolutions only of one size of batch
            if batch == 1:
                said = f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
                raise CommandError(f"--onnx: jax2onnx cannot translate this model: {said}") from error
    (takes,), (gives,) = session.get_inputs(), session.get_outputs()
    says = f"{takes.name} {takes.type} {takes.shape} to {gives.name} {gives.type} {gives.shape}"
    return (
        content,
        lambda x: np.concatenate([session.run(None, {takes.name: x[i : i + 1]})[0] for i in range(len(x))]),
        says,
    )


def _forward(model: Model) -> Any:
    import jax

    return jax.jit(lambda x: model.predict(model.params, x))


def _dtype(model: Model) -> Any:
    from ..models import Text

    return np.int32 if isinstance(model.spec.inputs, Text) else np.float32


def _any_length(model: Model) -> bool:
    """Whether texts of any length can be given: attention in blocks is compiled for one."""
    return _dtype(model) is np.int32 and not model.spec.settings.get("block")


def _largest_error(model: Model, call: Callable[[Any], Any]) -> float:
    """Of three random examples, relative to the largest output; infinite for another shape, or NaN."""
    from ..models import Text

    rng, shape = np.random.default_rng(0), (3, *model.spec.in_shape)
    is_text = isinstance(model.spec.inputs, Text)
    x = rng.integers(256, size=shape).astype(np.int32) if is_text else rng.random(shape, np.float32)
    wanted, found = np.asarray(_forward(model)(x)), np.asarray(call(x))
    if wanted.shape != found.shape:
        return np.inf
    return float(np.nan_to_num(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-30), nan=np.inf))
