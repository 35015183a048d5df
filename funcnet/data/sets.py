"""Data sets as NumPy arrays.

Each file of MNIST and Fashion-MNIST must have the SHA-256 listed in ``SOURCES``, wherever it is found. Nothing is
cached in memory, so the arrays belong to the caller.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from .idx import DataError, PathLike, blame, read_hashed


class Dataset(NamedTuple):
    """Examples and their labels (for regression, targets), split. Images keep their shape, with values in [0, 1]."""

    x_train: Float32[np.ndarray, "N *S"]
    y_train: Int32[np.ndarray, "N"] | Float32[np.ndarray, "N"]
    x_test: Float32[np.ndarray, "M *S"]
    y_test: Int32[np.ndarray, "M"] | Float32[np.ndarray, "M"]


@contextmanager
def _extra(package: str) -> Iterator[None]:
    """Explains an ImportError inside: the package belongs to the extras."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f'{package} is needed ({error}); run: pip install "funcnet[experiments]"') from error


# ---------------------------------------------------------------- MNIST and Fashion-MNIST


class Source(NamedTuple):
    """The origin of a set's four files, and the SHA-256 of each decompressed file, in the order of Dataset."""

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

    Read from ``data_dir`` or else from the directory in FUNCNET_DATA_DIR, which must hold the four files, plain or .gz
    (plain takes precedence). With neither set, they are read from the user's cache, or downloaded into it.

    Raises DataError if a file is missing, malformed or not genuine, or a download fails; ImportError if pooch is needed
    and missing.
    """
    return _load_source("mnist", data_dir)


def fashion_mnist(data_dir: PathLike | None = None) -> Dataset:
    """Ten kinds of clothing, in the same shapes and files as ``mnist`` (Xiao, Rasul & Vollgraf 2017).

    Found like ``mnist``, and also in the directory of Debian's package.
    """
    return _load_source("fashion-mnist", data_dir)


def _load_source(name: str, data_dir: PathLike | None) -> Dataset:
    source = SOURCES[name]
    arrays = []
    for file, path in _locate(name, data_dir).items():
        with blame(path):
            arrays.append(_read_genuine(path, source, file))
    x_train, y_train, x_test, y_test = arrays
    white = np.float32(255)
    return Dataset(x_train / white, y_train.astype(np.int32), x_test / white, y_test.astype(np.int32))


def _read_genuine(path: PathLike, source: Source, file: str) -> np.ndarray:
    """The array of an IDX file, which must be the source's own ``file``. Raises OSError or ValueError."""
    array, digest = read_hashed(path, at_most=LARGEST)
    if digest != source.digests[file]:
        known = {sha: f"{s.title}'s {f}" for s in SOURCES.values() for f, sha in s.digests.items()}
        found = known.get(digest, f"unknown {array.dtype} data of shape {array.shape} (SHA-256 {digest})")
        raise ValueError(f"holds {found}; expected {source.title}'s {file}")
    return array


def _locate(name: str, data_dir: PathLike | None) -> dict[str, Path]:
    """The path of each of the set's files. If the caller names a directory, no other is searched."""
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
    """The source's files that the directory holds, in the source's order."""
    candidates = ((file, directory / f"{file}{suffix}") for file in source.digests for suffix in (".gz", ""))
    return {file: path for file, path in candidates if os.path.isfile(path)}


def _download(source: Source, cache: Path) -> None:
    """Fetches the files that the cache lacks. A file that is not genuine never stays there.

    Pooch draws its progress bar with tqdm; without tqdm, or in a pipe, it prints a line for each file.
    """
    import pooch

    http = pooch.HTTPDownloader(progressbar=sys.stderr.isatty() and find_spec("tqdm") is not None)
    registry = {f"{file}.gz": None for file in source.digests}  # pooch would check the digests of the packed bytes
    store = pooch.create(path=cache, base_url=source.url, registry=registry, retry_if_failed=1)

    def genuine(file: str) -> Callable[[str, str, Any], None]:
        def download(url: str, partial: str, store: Any) -> None:
            http(url, partial, store)
            _read_genuine(partial, source, file)  # if this raises, pooch removes the partial file and tries again

        return download

    for file in source.digests:
        with blame(f"{source.url}{file}.gz", "; if you have the files, say where: --data-dir or FUNCNET_DATA_DIR"):
            store.fetch(f"{file}.gz", downloader=genuine(file))  # does nothing if the file is there


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


def diabetes(seed: int = 0, held_out: float = 0.2) -> Dataset:
    """442 patients, ten measurements each in their own units, and the progression of diabetes after a year, 25 to 346.

    A regression (Efron, Hastie, Johnstone & Tibshirani 2004), scikit-learn's copy; see ``_split``.
    """
    with _extra("scikit-learn"):
        from sklearn.datasets import load_diabetes
    bunch = load_diabetes(scaled=False)
    return _split(bunch.data, bunch.target, seed, held_out)


def _split(x: np.ndarray, y: np.ndarray, seed: int, held_out: float) -> Dataset:
    """A fraction ``held_out``, drawn by ``seed``, becomes the test set; classes keep their proportions."""
    from sklearn.model_selection import train_test_split

    labels = np.issubdtype(y.dtype, np.integer)
    x, y = x.astype(np.float32), y.astype(np.int32 if labels else np.float32)
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=held_out, stratify=y if labels else None, random_state=seed
    )
    return Dataset(x_train, y_train, x_test, y_test)


def spiral(
    points_per_class: int = 100, classes: int = 3, noise: float = 0.2, seed: int = 0
) -> tuple[Float32[np.ndarray, "N 2"], Int32[np.ndarray, "N"]]:
    """Interleaved spiral arms, one per class, in the unit disc: (x, y).

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
    "diabetes": lambda data_dir, seed: diabetes(seed),
    "mnist": lambda data_dir, seed: mnist(data_dir),
    "fashion-mnist": lambda data_dir, seed: fashion_mnist(data_dir),
}


def load(name: str, data_dir: PathLike | None = None, seed: int = 0) -> Dataset:
    """The set called ``name`` in ``DATASETS``. Bundled sets ignore ``data_dir``; MNIST's split ignores ``seed``.

    Raises DataError for an unknown name, and whatever the set's own function raises.
    """
    if name not in DATASETS:
        raise DataError(f"no data set is called {name!r}; expected one of {', '.join(DATASETS)}")
    return DATASETS[name](data_dir, seed)
