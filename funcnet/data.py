"""Data sets as NumPy arrays, and the IDX files that MNIST comes in.

A named set is always the set of that name: each of its files, wherever it is found, must have the one SHA-256 that
stands in ``SOURCES``. Nothing is cached in memory, so the arrays are the caller's own.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

PathLike = str | os.PathLike[str]


class DataError(ValueError):
    """A file or a name that gives no data: one line with its name, what is wrong with it and what was expected."""


class Dataset(NamedTuple):
    """Examples and their labels, already split. Images keep their shape and lie in [0, 1]."""

    x_train: Float32[np.ndarray, "N *S"]
    y_train: Int32[np.ndarray, "N"]
    x_test: Float32[np.ndarray, "M *S"]
    y_test: Int32[np.ndarray, "M"]


@contextmanager
def _blame(culprit: object, advice: str = "") -> Iterator[None]:
    """Turns whatever goes wrong inside into the DataError that names the culprit."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise DataError(f"{culprit}: {getattr(error, 'strerror', None) or error}{advice}") from error


@contextmanager
def _extra(package: str) -> Iterator[None]:
    """Imports that an installation without the extras lacks."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f'{package} is needed ({error}); run: pip install "funcnet[experiments]"') from error


# ---------------------------------------------------------------- IDX files

IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CHUNK = 1 << 18  # bytes read at a time: memory grows with what a file holds, not with what its header claims


def read_idx(path: PathLike) -> np.ndarray:
    """The array in an IDX file, plain or gzipped, in native byte order.

    The format: bytes 0, 0, type, rank; then ``rank`` sizes as big-endian uint32; then the elements, big-endian and
    with the last axis fastest (LeCun, Cortes & Burges, "The MNIST database", 1998). Gzip is told by its own first
    bytes, not by the file's name.

    Raises DataError where the file cannot be read, or is not exactly that.
    """
    with _blame(path):
        return _read(path)[0]


def _read(path: PathLike, at_most: float = math.inf) -> tuple[np.ndarray, str]:
    """The array of an IDX file, and the SHA-256 of the file's bytes once decompressed.

    Raises OSError or ValueError; the latter also where the header claims more than ``at_most`` bytes of data.
    """
    with open(path, "rb") as file:
        read = _inflating(file) if file.peek(2)[:2] == b"\x1f\x8b" else file.read
        magic = _take(read, 4)
        dtype, rank = _checked(magic)
        header = magic + _take(read, 4 * rank)
        if len(header) < 4 + 4 * rank:
            raise ValueError(f"truncated: ends in its header, after {len(header)} of {4 + 4 * rank} bytes")
        shape = tuple(np.frombuffer(header, ">u4", offset=4).tolist())
        size = math.prod(shape) * dtype.itemsize
        if size > at_most:
            raise ValueError(f"claims {size} bytes for shape {shape}; expected no more than {at_most}")
        data = _take(read, size + 1)  # one byte past the end also makes gzip check its sum
    if len(data) != size:
        wrong = f"truncated: holds {len(data)}" if len(data) < size else "oversized: holds more"
        raise ValueError(f"{wrong} bytes of data; expected {size} for {dtype.name} of shape {shape}")
    array = np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="))
    return array, hashlib.sha256(header + data).hexdigest()


def _checked(magic: bytes) -> tuple[np.dtype[Any], int]:
    """The type and the rank that an IDX file opens with."""
    if len(magic) < 4 or magic[:2] != b"\0\0":
        wrong = "truncated" if len(magic) < 4 else "wrong magic number"
        raise ValueError(f"{wrong}: starts with '{magic.hex(' ')}'; an IDX file starts with 00 00, its type, its rank")
    code, rank = magic[2:]
    if code not in IDX_TYPES:
        raise ValueError(f"unknown type {code:#04x}; expected one of {', '.join(f'{c:#04x}' for c in IDX_TYPES)}")
    if rank == 0:
        raise ValueError("rank 0; expected an array of rank 1 at least")
    return np.dtype(IDX_TYPES[code]), rank


def _take(read: Callable[[int], bytes], size: int) -> bytes:
    """``size`` bytes, or as many as there are."""
    taken = bytearray()
    while len(taken) < size and (chunk := read(min(CHUNK, size - len(taken)))):
        taken += chunk
    return bytes(taken)


def _inflating(file: BinaryIO) -> Callable[[int], bytes]:
    """A ``read(size)`` of what the gzip file holds, in one member or several; inflates no byte more than it returns.

    The standard ``gzip`` module would pass over zeros that follow the last member.
    """
    gzip_format = 31  # the header and the checksum of gzip, the largest window
    member = zlib.decompressobj(gzip_format)

    def read(size: int) -> bytes:
        nonlocal member
        while packed := member.unused_data or member.unconsumed_tail or file.read(CHUNK):
            if member.eof:
                if packed[:1] != b"\x1f":
                    raise ValueError("oversized: more bytes follow the gzip data")
                member = zlib.decompressobj(gzip_format)
            try:
                plain = member.decompress(packed, size)
            except zlib.error as error:
                raise ValueError(f"corrupt gzip: {error}") from error
            if plain:
                return plain
        if not member.eof:
            raise ValueError("truncated gzip: the file ends before its compressed data do")
        return b""

    return read


# ---------------------------------------------------------------- MNIST and Fashion-MNIST


class Source(NamedTuple):
    """Where the four files of a set come from, and the SHA-256 of each once decompressed, in the order of Dataset."""

    title: str
    url: str
    digests: dict[str, str]
    places: tuple[Path, ...] = ()


SOURCES = {
    "mnist": Source(
        "MNIST",
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        },
    ),
    "fashion-mnist": Source(
        "Fashion-MNIST",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        (Path("/usr/share/datasets/fashion-mnist"),),  # Debian's package dataset-fashion-mnist
    ),
}
LARGEST = 1 << 26  # bytes of data; no file of these sets holds more than 47 MB, whatever its header claims


def mnist(data_dir: PathLike | None = None) -> Dataset:
    """Handwritten digits: 60,000 and 10,000 images (28, 28), ten classes (LeCun, Bottou, Bengio & Haffner 1998).

    Read from ``data_dir`` or, failing that, from the directory in FUNCNET_DATA_DIR: either must hold the four files,
    plain or .gz. With neither, they are looked for in the user's cache, and downloaded into it.

    Raises DataError where a file is missing, malformed or not the genuine one, or a download fails; ImportError
    where pooch is needed and missing.
    """
    return _load_source("mnist", data_dir)


def fashion_mnist(data_dir: PathLike | None = None) -> Dataset:
    """Ten kinds of clothing, in the same shapes and files as ``mnist`` (Xiao, Rasul & Vollgraf 2017).

    Found as ``mnist`` is, and also where Debian's package installs it.
    """
    return _load_source("fashion-mnist", data_dir)


def _load_source(name: str, data_dir: PathLike | None) -> Dataset:
    source = SOURCES[name]
    arrays = []
    for file, path in _locate(name, data_dir).items():
        with _blame(path):
            arrays.append(_read_genuine(path, source, file))
    x_train, y_train, x_test, y_test = arrays
    white = np.float32(255)
    return Dataset(x_train / white, y_train.astype(np.int32), x_test / white, y_test.astype(np.int32))


def _read_genuine(path: PathLike, source: Source, file: str) -> np.ndarray:
    """The array of an IDX file that must be the named one of the source. Raises OSError or ValueError."""
    array, digest = _read(path, at_most=LARGEST)
    if digest != source.digests[file]:
        known = {sha: f"{s.title}'s {f}" for s in SOURCES.values() for f, sha in s.digests.items()}
        found = known.get(digest, f"unknown {array.dtype} data of shape {array.shape} (SHA-256 {digest})")
        raise ValueError(f"holds {found}; expected {source.title}'s {file}")
    return array


def _locate(name: str, data_dir: PathLike | None) -> dict[str, Path]:
    """The path of each of the set's files; a directory that was asked for is never passed over for another."""
    source = SOURCES[name]
    given = data_dir if data_dir is not None else os.environ.get("FUNCNET_DATA_DIR") or None
    if given is not None:
        found = _find(Path(os.path.expanduser(given)), source)
        if missing := [file for file in source.digests if file not in found]:
            wanted = ", ".join(source.digests)
            raise DataError(f"{given}: no {missing[0]}; expected the files of {source.title}, plain or .gz: {wanted}")
        return found
    with _extra("pooch"):
        import pooch
    cache = Path(pooch.os_cache("funcnet")) / name
    for place in (cache, *source.places):
        if len(found := _find(place, source)) == len(source.digests):
            return found
    _download(source, cache)
    return _find(cache, source)


def _find(directory: Path, source: Source) -> dict[str, Path]:
    """Those of the source's files that the directory holds, in the source's order."""
    candidates = ((file, directory / f"{file}{suffix}") for file in source.digests for suffix in (".gz", ""))
    return {file: path for file, path in candidates if os.path.exists(path)}


def _download(source: Source, cache: Path) -> None:
    """Fetches the files that the cache lacks. A file that is not the genuine one never stays there.

    Pooch draws its progress bar with tqdm; without one, or in a pipe, it prints a line for each file.
    """
    import pooch

    http = pooch.HTTPDownloader(progressbar=sys.stderr.isatty() and find_spec("tqdm") is not None)
    registry = {f"{file}.gz": None for file in source.digests}  # pooch would want the digests of the packed bytes
    store = pooch.create(path=cache, base_url=source.url, registry=registry, retry_if_failed=1)

    def genuine(file: str) -> Callable[[str, str, Any], None]:
        def download(url: str, partial: str, store: Any) -> None:
            http(url, partial, store)
            _read_genuine(partial, source, file)  # where this raises, pooch removes the partial file and tries again

        return download

    for file in source.digests:
        with _blame(f"{source.url}{file}.gz", "; have the files already? Say where: --data-dir or FUNCNET_DATA_DIR"):
            store.fetch(f"{file}.gz", downloader=genuine(file))  # does nothing where the file is there


# ---------------------------------------------------------------- small sets


def digits(seed: int = 0, held_out: float = 0.2) -> Dataset:
    """1,797 handwritten digits (8, 8), ten classes (Alpaydin & Kaynak 1998), scikit-learn's copy; see ``_split``."""
    with _extra("scikit-learn"):
        from sklearn.datasets import load_digits
    bunch = load_digits()
    return _split(bunch.images / 16, bunch.target, seed, held_out)


def iris(seed: int = 0, held_out: float = 0.2) -> Dataset:
    """150 irises of three species, four lengths each in cm (Fisher 1936), scikit-learn's copy; see ``_split``."""
    with _extra("scikit-learn"):
        from sklearn.datasets import load_iris
    bunch = load_iris()
    return _split(bunch.data, bunch.target, seed, held_out)


def _split(x: np.ndarray, y: np.ndarray, seed: int, held_out: float) -> Dataset:
    """A fraction ``held_out`` becomes the test set, drawn by ``seed``, with every class in proportion."""
    from sklearn.model_selection import train_test_split

    x_train, x_test, y_train, y_test = train_test_split(
        x.astype(np.float32), y.astype(np.int32), test_size=held_out, stratify=y, random_state=seed
    )
    return Dataset(x_train, y_train, x_test, y_test)


def spiral(
    points_per_class: int = 100, classes: int = 3, noise: float = 0.2, seed: int = 0
) -> tuple[Float32[np.ndarray, "N 2"], Int32[np.ndarray, "N"]]:
    """Interleaved spiral arms, one a class, in the unit disc: (x, y).

    Along arm c the radius r runs from 0 to 1 and the angle t from 4c to 4(c + 1), with ``noise``·N(0, 1) added
    to t; x = (r sin 2.5t, r cos 2.5t) (Karpathy, CS231n notes; Kinsley & Kukieła, "Neural Networks from Scratch").
    """
    arm = np.arange(classes)
    r = np.linspace(0, 1, points_per_class)
    t = np.linspace(4 * arm, 4 * (arm + 1), points_per_class, axis=1)
    t += noise * np.random.default_rng(seed).standard_normal(t.shape)
    x = np.stack([r * np.sin(2.5 * t), r * np.cos(2.5 * t)], axis=-1)
    return x.reshape(-1, 2).astype(np.float32), np.repeat(arm, points_per_class).astype(np.int32)


# ---------------------------------------------------------------- by name

DATASETS: dict[str, Callable[[PathLike | None, int], Dataset]] = {
    "digits": lambda data_dir, seed: digits(seed),
    "iris": lambda data_dir, seed: iris(seed),
    "mnist": lambda data_dir, seed: mnist(data_dir),
    "fashion-mnist": lambda data_dir, seed: fashion_mnist(data_dir),
}


def load(name: str, data_dir: PathLike | None = None, seed: int = 0) -> Dataset:
    """The set of that name in ``DATASETS``. The bundled ones need no ``data_dir``; MNIST's split needs no ``seed``.

    Raises DataError where no set has that name, and whatever the set's own function raises.
    """
    if name not in DATASETS:
        raise DataError(f"no data set is called {name!r}; expected one of {', '.join(DATASETS)}")
    return DATASETS[name](data_dir, seed)
