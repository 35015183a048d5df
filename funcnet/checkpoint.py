"""Runs that last: any pytree by orbax-checkpoint, weights alone by safetensors; neither by pickle.

Both packages come with the extra ``checkpoint``; without it these functions say what to install.
"""

import contextlib
import errno
import functools
import hashlib
import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from .files import write_whole
from .types import Params

PathLike = str | os.PathLike[str]


class CheckpointError(ValueError):
    """A checkpoint or a file of weights cannot be read, or does not fit; the message says what differs."""


@contextlib.contextmanager
def _extra() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise ImportError(f'checkpoints need {error.name}; run: pip install "funcnet[checkpoint]"') from error


# ---------------------------------------------------------------- pytrees, by orbax


class Checkpoints(NamedTuple):
    """Two functions on an open directory of checkpoints.

    save(step, tree, notes=None, metric=None)   starts to write a pytree of arrays and keys, and ``notes`` of JSON's
                                                types, and returns; a checkpoint is there as a whole or not at all
    restore(like) -> (tree, notes)              the newest, with the shapes, dtypes and shardings of ``like``; or None
    """

    save: Callable[..., None]
    restore: Callable[[Any], tuple[Any, Any] | None]


@contextlib.contextmanager
def checkpoints(
    directory: PathLike, config: Mapping[str, Any] | None = None, *, keep: int = 2
) -> Iterator[Checkpoints]:
    """Opens a directory of checkpoints, made if need be; it keeps the newest ``keep`` and that of the smallest metric.

    ``config`` (JSON's types) is written beside a first checkpoint. Raises CheckpointError if another one is there,
    naming the first setting that differs; ``restore`` raises it for another tree, or for damaged files. When the block
    ends, whatever is being written is finished first.
    """
    with _extra():
        import orbax.checkpoint as ocp
        from orbax.checkpoint import checkpoint_managers as policies
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # it reports every save; what fails is raised
    _report_once()
    directory = Path(directory).absolute()
    directory.mkdir(parents=True, exist_ok=True)
    require_same(directory / "config.json", config or {})
    best = policies.BestN(
        get_metric_fn=lambda metrics: metrics["metric"], reverse=True, n=1, keep_checkpoints_without_metrics=False
    )
    kept = policies.AnyPreservationPolicy([policies.LatestN(keep), best])
    options = ocp.CheckpointManagerOptions(preservation_policy=kept)
    try:
        manager = ocp.CheckpointManager(directory / "states", options=options)
    except (ValueError, TypeError, KeyError, AttributeError) as error:  # orbax reads what it wrote beside the states
        raise CheckpointError(f"{directory}: its checkpoints are damaged: {_said(error)}") from error
    with _closing(manager, directory):

        def save(step: int, tree: Any, notes: Any = None, metric: float | None = None) -> None:
            notes = json.loads(json.dumps(notes))  # written in the background, while the caller's may change
            beside = {"notes": notes, DIGEST: _digest_of(tree, notes)}
            items = ocp.args.Composite(tree=ocp.args.StandardSave(tree), notes=ocp.args.JsonSave(beside))
            with _writing(directory):
                manager.save(step, args=items, metrics=None if metric is None else {"metric": metric})

        def restore(like: Any) -> tuple[Any, Any] | None:
            step = manager.latest_step()
            if step is None:
                return None
            items = ocp.args.Composite(tree=ocp.args.StandardRestore(like), notes=ocp.args.JsonRestore())
            try:
                found = manager.restore(step, args=items)
                beside = dict(found.notes)
                digests = {beside.pop(DIGEST), _digest_of(found.tree, *beside.values())} - {None}
            except Exception as error:  # whatever orbax and tensorstore make of damaged files
                logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # other reads fail later: they are not reported
                raise CheckpointError(f"{directory}: checkpoint {step} cannot be restored: {_said(error)}") from error
            if len(digests) > 1 or beside.keys() != {"notes"}:
                raise CheckpointError(f"{directory}: checkpoint {step} holds other values than were saved")
            return found.tree, found.notes["notes"]

        yield Checkpoints(save, restore)


@contextlib.contextmanager
def _closing(manager: Any, directory: Path) -> Iterator[None]:
    """Finishes what is being written; an error of the block comes before one of the writing."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(Exception):
            manager.close()
        raise
    with _writing(directory):
        manager.close()


FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)


@contextlib.contextmanager
def _writing(directory: Path) -> Iterator[None]:
    """Turns whatever orbax and tensorstore make of a full disk into one line."""
    try:
        yield
    except Exception as error:
        system = [reason for reason in map(os.strerror, FAULTS) if reason in str(error)]
        said = [*system, _said(error)][0]
        raise CheckpointError(f"{directory}: a checkpoint cannot be written: {said:.300}") from error


def _said(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


@functools.cache
def _report_once() -> None:
    """Keeps Python from printing what orbax and tensorstore leave behind when one file of many fails: that is raised.

    Their threads call a loop that has ended, and reads that nobody awaits fail when they are collected, which may be
    after all of this has returned. So it is for the rest of the process.
    """
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        code = getattr(unraisable.object, "cr_code", None)  # of a coroutine
        ours = str(unraisable.exc_value) == "Event loop is closed" or (code and "orbax" in code.co_filename)
        if not ours:
            before(unraisable)

    sys.unraisablehook = hook


def saving(directory: PathLike | None, config: Mapping[str, Any]) -> contextlib.AbstractContextManager[Checkpoints]:
    """``checkpoints``, or, without a directory, nothing that is saved or found."""
    if directory is not None:
        return checkpoints(directory, config)
    return contextlib.nullcontext(Checkpoints(lambda *saved, **settings: None, lambda like: None))


def require_same(path: Path, config: Mapping[str, Any]) -> None:
    """Writes a configuration if there is none. Raises CheckpointError for another, naming the first difference."""
    wanted = json.loads(json.dumps(config, default=str))
    if not path.exists():
        write_whole(path, json.dumps(wanted, indent=2) + "\n")
        return
    try:
        found = json.loads(path.read_text("utf-8"))
        assert isinstance(found, dict)
    except (ValueError, AssertionError) as error:
        raise CheckpointError(f"{path} holds no configuration") from error
    for name in dict.fromkeys([*wanted, *found]):
        if wanted.get(name) != found.get(name):
            raise CheckpointError(f"{path}: {name} was {found.get(name)!r:.60}; now it is {wanted.get(name)!r:.60}")


def _digest_of(tree: Any, notes: Any) -> str | None:
    """None if other processes hold parts of the tree."""
    leaves = named_leaves(tree)
    if not all(getattr(leaf, "is_fully_addressable", True) for leaf in leaves.values()):
        return None
    is_key = {name: jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) for name, leaf in leaves.items()}
    arrays = {name: np.asarray(jax.random.key_data(leaf) if is_key[name] else leaf) for name, leaf in leaves.items()}
    return _digest(arrays, json.dumps(notes, sort_keys=True))


# ---------------------------------------------------------------- weights, by safetensors


def named_leaves(tree: Any) -> dict[str, Any]:
    """Every array by its name: the path to it, joined by dots, as in "blocks.attention.qkv.w" or "0.w"."""
    pairs = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in pairs}


DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
    "I16": "int16", "I8": "int8", "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
DIGEST = "sha256"  # the name under which a file's metadata keep that of its arrays


def save_weights(path: PathLike, params: Params) -> str:
    """Writes parameters to a safetensors file under their names, for anyone's reader; whole, or as it was.

    Returns the SHA-256 of names, dtypes, shapes and values, which the file's metadata hold too.
    """
    with _extra():
        from safetensors.numpy import save
    arrays = {name: np.ascontiguousarray(leaf).reshape(leaf.shape) for name, leaf in named_leaves(params).items()}
    digest = _digest(arrays)
    write_whole(Path(path), save(arrays, {DIGEST: digest}))
    return digest


def load_weights(path: PathLike, like: Params, digest: str | None = None) -> Params:
    """The parameters of a safetensors file, in the tree of ``like`` (arrays, or shapes from ``jax.eval_shape``).

    Raises CheckpointError if it is no such file, and for the first leaf whose name, shape or dtype differs; also if
    its values are not those that were saved, or, with ``digest``, not those that ``save_weights`` returned that for.
    """
    with _extra():
        from safetensors import SafetensorError, safe_open
    wanted = named_leaves(like)
    try:
        with safe_open(path, framework="numpy") as file:  # it checks the header: no two arrays overlap or end outside
            metadata, slices = file.metadata() or {}, {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            found = {name: (DTYPES.get(s.get_dtype(), "unknown"), tuple(s.get_shape())) for name, s in slices.items()}
        for name, leaf in wanted.items():
            if name not in found:
                raise CheckpointError(f"{path}: there is no {name}; expected {leaf.dtype} {leaf.shape}")
            dtype, shape = found[name]
            if shape != leaf.shape:
                raise CheckpointError(f"{path}: {name} has shape {shape}; expected {leaf.shape}")
            if dtype != leaf.dtype:
                raise CheckpointError(f"{path}: {name} has dtype {dtype}; expected {leaf.dtype}")
        if extra := sorted(found.keys() - wanted.keys()):
            raise CheckpointError(f"{path}: {extra[0]!r:.80} is not expected: the network has no such parameter")
        with open(path, "rb") as content:  # safetensors' own reader for NumPy knows no bfloat16
            length = int.from_bytes(content.read(8), "little")
            header = json.loads(content.read(length))
            arrays = {}
            for name in wanted:
                start, end = header[name]["data_offsets"]
                content.seek(8 + length + start)
                arrays[name] = np.frombuffer(content.read(end - start), found[name][0]).reshape(found[name][1])
    except (SafetensorError, OSError) as error:
        said = getattr(error, "strerror", None) or error
        raise CheckpointError(f"{path} cannot be read as safetensors: {said}") from error
    if metadata and "format" not in metadata and DIGEST not in metadata:  # others' files have a format, or nothing
        raise CheckpointError(f"{path}: its metadata are damaged; expected {DIGEST}")
    actual = _digest(arrays)
    if {actual} != {actual, metadata.get(DIGEST, actual), digest or actual}:
        raise CheckpointError(f"{path}: these are not the values that were saved; their SHA-256 differs")
    return jax.tree.unflatten(jax.tree.structure(like), [jax.numpy.asarray(arrays[name]) for name in wanted])


def _digest(arrays: Mapping[str, np.ndarray], of: str = "") -> str:
    """The SHA-256 of arrays, with their names, dtypes and shapes, and of a text."""
    sha = hashlib.sha256(of.encode())
    for name, array in sorted(arrays.items()):
        sha.update(f"{name} {array.dtype} {array.shape}\n".encode())
        sha.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()
