"""Data sets: only genuine files are accepted, wherever they are found, and splits are fair."""

import gc
import gzip
import hashlib
import http.server
import math
import os
import re
import shutil
import struct
import sys
import threading
from pathlib import Path

import numpy as np
import pooch
import pytest

from funcnet.data import sets as data
from funcnet.data.idx import DataError, read_idx
from funcnet.data.sets import SOURCES, Source
from tests.data.test_idx import idx

pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
REAL = os.environ.get("FUNCNET_DATA_DIR")
needs_mnist = pytest.mark.skipif(not REAL, reason="needs the real MNIST in FUNCNET_DATA_DIR")
DEBIAN = SOURCES["fashion-mnist"].places[0]
needs_fashion = pytest.mark.skipif(not DEBIAN.exists(), reason="needs Debian's package dataset-fashion-mnist")
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Every test starts with no FUNCNET_DATA_DIR and an empty cache of its own."""
    monkeypatch.delenv("FUNCNET_DATA_DIR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    return tmp_path / "cache" / "funcnet" / "mnist"


# ---------------------------------------------------------------- sets of four files


def made_up(title, seed, directory, pack=gzip.compress, suffix=".gz"):
    """A set of a few small images in a directory, and its source."""
    rng = np.random.default_rng(seed)
    directory.mkdir()
    digests = {}
    for file, shape in zip(FILES, [(6, 3, 3), (6,), (2, 3, 3), (2,)], strict=True):
        content = idx(rng.integers(256 if len(shape) > 1 else 10, size=shape).astype(np.uint8))
        digests[file] = hashlib.sha256(content).hexdigest()
        (directory / (file + suffix)).write_bytes(pack(content))
    return Source(title, "http://127.0.0.1:9/", digests)


@pytest.fixture
def sets(tmp_path, monkeypatch):
    """Made-up sets in place of both real ones, in directories of these names."""
    monkeypatch.setitem(SOURCES, "mnist", made_up("MNIST", 0, tmp_path / "mnist"))
    monkeypatch.setitem(SOURCES, "fashion-mnist", made_up("Fashion-MNIST", 1, tmp_path / "fashion", bytes, ""))
    return tmp_path


def assert_is(dataset, directory):
    """The dataset is the made-up one in the directory: its pixels over 255, its labels."""
    assert tuple(a.dtype for a in dataset) == (np.float32, np.int32) * 2
    for array, file in zip(dataset, FILES, strict=True):
        (path,) = directory.glob(file + "*")
        scale = 255 if array.dtype == np.float32 else 1
        np.testing.assert_array_equal(array, (read_idx(path) / scale).astype(array.dtype))


def test_reads_four_files_plain_or_packed(sets, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)  # files at hand need no extra
    assert_is(data.mnist(sets / "mnist"), sets / "mnist")
    assert_is(data.load("fashion-mnist", data_dir=str(sets / "fashion")), sets / "fashion")


def test_a_plain_file_goes_before_a_packed_one(sets):
    packed = sets / "mnist" / f"{FILES[0]}.gz"
    plain = packed.with_suffix("")
    plain.write_bytes(gzip.decompress(packed.read_bytes()))
    packed.write_bytes(b"not the file")
    np.testing.assert_array_equal(data.mnist(sets / "mnist").x_train, (read_idx(plain) / 255).astype(np.float32))


@pytest.mark.parametrize(
    ("directory", "file", "named"),
    [("fashion", FILES[0], "Fashion-MNIST's"), ("mnist", FILES[1], "MNIST's"), ("mnist", FILES[2], "MNIST's")],
    ids=["the other set", "labels for images", "test for training"],
)
def test_a_swapped_file_is_named(directory, file, named, sets):
    (taken,) = (sets / directory).glob(file + "*")
    victim = sets / "mnist" / f"{FILES[0]}.gz"
    victim.write_bytes(taken.read_bytes())
    with pytest.raises(DataError, match=f"^{victim}: holds {named} {file}; expected MNIST's {FILES[0]}$"):
        data.mnist(sets / "mnist")


@pytest.mark.parametrize("file", FILES)
def test_one_changed_byte_is_refused(file, sets):
    path = sets / "fashion" / file
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match=f"{file}: holds unknown .*SHA-256.*; expected Fashion-MNIST's {file}"):
        data.fashion_mnist(sets / "fashion")


def test_a_named_set_is_never_huge(sets):
    content = struct.pack(">BBBB3I", 0, 0, 8, 3, 60_000, 28, 280)
    (sets / "fashion" / FILES[0]).write_bytes(content)
    with pytest.raises(DataError, match=r"claims 470400000 bytes for shape \(60000, 28, 280\); expected no more than"):
        data.fashion_mnist(sets / "fashion")


def test_where_a_set_is_looked_for(sets, cache, monkeypatch):
    """Order: the argument, the variable, the cache, Debian's copy."""
    source = SOURCES["mnist"]
    places = [sets / "argument", sets / "variable", cache, sets / "debian"]
    for place in places:
        shutil.copytree(sets / "mnist", place)
    monkeypatch.setitem(SOURCES, "mnist", source._replace(places=(places[3],)))

    def found(data_dir=None):
        return {path.parent for path in data._locate("mnist", data_dir).values()}

    assert found() == {cache}
    shutil.rmtree(cache)
    assert found() == {places[3]}
    monkeypatch.setenv("FUNCNET_DATA_DIR", str(places[1]))
    assert found() == {places[1]}
    assert found(places[0]) == {places[0]}


@pytest.mark.parametrize("how", ["argument", "variable"])
@pytest.mark.parametrize("asked", ["incomplete", "empty", "absent", ""])
def test_a_directory_asked_for_must_hold_the_set(how, asked, sets, cache, monkeypatch):
    """Even if the cache has the set. An empty argument counts as an argument, an empty variable does not count."""
    shutil.copytree(sets / "mnist", cache)
    shutil.copytree(sets / "mnist", sets / "incomplete")
    (sets / "incomplete" / f"{FILES[3]}.gz").unlink()
    (sets / "empty").mkdir()
    directory = str(sets / asked) if asked else ""
    argument = directory if how == "argument" else None
    if how == "variable":
        monkeypatch.setenv("FUNCNET_DATA_DIR", directory)
    if how == "variable" and not asked:
        assert_is(data.mnist(argument), cache)
    else:
        missing = FILES[3] if asked == "incomplete" else FILES[0]
        with pytest.raises(DataError, match=f"^{directory}: no {missing}; expected the files of MNIST.*t10k-labels"):
            data.mnist(argument)


# ---------------------------------------------------------------- downloads


@pytest.fixture
def server(sets, monkeypatch):
    """Serves the made-up MNIST locally, and lists the files requested."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=sets / "mnist")

        def log_message(self, template, *args):
            asked.append(Path(self.path).name)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        url = f"http://127.0.0.1:{httpd.server_port}/"
        monkeypatch.setitem(SOURCES, "mnist", SOURCES["mnist"]._replace(url=url))
        monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)  # between two tries
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield asked
        httpd.shutdown()
        thread.join()
    gc.collect()  # pooch leaves the response to a failed request for the collector to close: let it be here


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("tqdm", [True, False])
def test_download_once(terminal, tqdm, server, sets, cache, monkeypatch, capsys):
    """A progress bar is drawn on a terminal if tqdm is installed; without it the download works all the same."""
    if tqdm:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setattr(data, "find_spec", lambda module: None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    for _ in range(2):
        assert_is(data.mnist(), sets / "mnist")
        assert sorted(server) == sorted(f"{file}.gz" for file in FILES)
    assert_is(data.mnist(), cache)
    assert ("100%" in capsys.readouterr().err) == (terminal and tqdm)


def test_a_wrong_download_leaves_the_cache(server, sets, cache):
    """The error names the URL and the content received; once the mirror is right, only missing files are fetched."""
    served = sets / "mnist" / f"{FILES[2]}.gz"
    right = served.read_bytes()
    for wrong, telling in [
        ((sets / "fashion" / FILES[2]).read_bytes(), "holds Fashion-MNIST's t10k-images-idx3-ubyte; expected MNIST's"),
        (b"<html>log in first</html>", "wrong magic number"),
        (right[:-3], "truncated gzip"),
    ]:
        served.write_bytes(wrong)
        with pytest.raises(DataError, match=re.escape(f"{SOURCES['mnist'].url}{served.name}: {telling}")):
            data.mnist()
        assert sorted(os.listdir(cache)) == sorted(f"{file}.gz" for file in FILES[:2])  # no partial file either
    served.write_bytes(right)
    server.clear()
    assert_is(data.mnist(), sets / "mnist")
    assert sorted(server) == sorted(f"{file}.gz" for file in FILES[2:])


def test_no_network(server, sets, cache, monkeypatch):
    url = SOURCES["mnist"].url
    (sets / "mnist" / f"{FILES[0]}.gz").unlink()
    with pytest.raises(DataError, match=re.escape(f"{url}{FILES[0]}.gz: 404") + ".*--data-dir or FUNCNET_DATA_DIR$"):
        data.mnist()
    monkeypatch.setitem(SOURCES, "mnist", SOURCES["mnist"]._replace(url="http://127.0.0.1:9/"))  # nobody listens
    with pytest.raises(DataError, match=f"^http://127.0.0.1:9/{FILES[0]}.gz: .*--data-dir or FUNCNET_DATA_DIR$"):
        data.mnist()
    assert not os.listdir(cache)


@pytest.mark.parametrize(("name", "module"), [("digits", "sklearn.datasets"), ("mnist", "pooch")])
def test_missing_extra(name, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'is needed .*pip install "funcnet\[experiments\]"'):
        data.load(name)


# ---------------------------------------------------------------- the sets themselves


@pytest.mark.parametrize(
    ("name", "directory", "labels"),
    [
        pytest.param("mnist", REAL, [5, 0, 4, 1, 9], marks=needs_mnist),
        pytest.param("fashion-mnist", DEBIAN, [9, 0, 0, 3, 0], marks=needs_fashion),
    ],
    ids=["mnist", "fashion-mnist"],
)
def test_real_images(name, directory, labels):
    dataset = data.load(name, directory)
    assert [a.shape for a in dataset] == [(60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,)]
    assert [a.dtype for a in dataset] == [np.float32, np.int32] * 2
    for x, y in (dataset[:2], dataset[2:]):
        assert (x.min(), x.max()) == (0, 1)
        assert set(y.tolist()) == set(range(10))
    assert dataset.y_train[:5].tolist() == labels


@needs_mnist
def test_mnist_is_not_fashion(monkeypatch):
    monkeypatch.setenv("FUNCNET_DATA_DIR", REAL)
    with pytest.raises(DataError, match="holds MNIST's train-images-idx3-ubyte; expected Fashion-MNIST's train-images"):
        data.load("fashion-mnist")


@pytest.mark.parametrize(
    ("make", "shape", "classes", "largest"),
    [(data.digits, (1797, 8, 8), 10, 1.0), (data.iris, (150, 4), 3, 7.9)],
    ids=["digits", "iris"],
)
def test_stratified_split(make, shape, classes, largest):
    for held_out in (0.2, 0.5):
        x_train, y_train, x_test, y_test = make(seed=3, held_out=held_out)
        x, y = np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test])
        assert (x.shape, x.dtype, y.dtype) == (shape, np.float32, np.int32)
        assert x.min() >= 0
        assert x.max() == np.float32(largest)
        assert len(y_test) == math.ceil(held_out * len(y))
        counts, held = np.bincount(y, minlength=classes), np.bincount(y_test, minlength=classes)
        assert np.abs(held - held_out * counts).max() <= 1


def test_diabetes():
    x_train, y_train, x_test, y_test = data.diabetes(seed=3, held_out=0.25)
    x, y = np.concatenate([x_train, x_test]), np.concatenate([y_train, y_test])
    assert (x.shape, x.dtype, y.dtype, len(y_test)) == ((442, 10), np.float32, np.float32, 111)
    assert (y.min(), y.max(), round(float(y.mean()), 3)) == (25, 346, 152.133)  # the mean is Efron et al.'s
    assert (x[:, 0].min(), x[:, 0].max(), set(x[:, 1])) == (19, 79, {1, 2})  # years, and the sexes: nothing is scaled


@pytest.mark.parametrize("name", ["digits", "iris", "diabetes"])
def test_split_is_whole_disjoint_and_seeded(name):
    """Both parts together hold every row of the set exactly as often: no row is in both, and none is lost."""

    def rows(*parts):
        return sorted((*x.ravel().tolist(), y) for xs, ys in parts for x, y in zip(xs, ys.tolist(), strict=True))

    first, again, other = data.load(name, seed=1), getattr(data, name)(seed=1), data.load(name, seed=2)
    assert rows(first[:2], first[2:]) == rows(other[:2], other[2:])
    assert rows(first[2:]) != rows(other[2:])
    if name != "iris":  # every digit is drawn once only, and no two patients are alike; irises are
        assert not set(rows(first[:2])) & set(rows(first[2:]))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.shares_memory(a, b)  # the arrays are the caller's own


def test_spiral():
    x, y = data.spiral(points_per_class=50, classes=4, noise=0.0)
    assert (x.dtype, y.dtype, x.shape) == (np.float32, np.int32, (200, 2))
    for c in range(4):
        r, t = np.linspace(0, 1, 50), np.linspace(4 * c, 4 * (c + 1), 50)
        np.testing.assert_allclose(x[y == c], np.c_[r * np.sin(2.5 * t), r * np.cos(2.5 * t)], atol=1e-6)
    (noisy, y), (clean, _) = data.spiral(seed=1), data.spiral(noise=0.0)
    assert np.bincount(y).tolist() == [100] * 3
    np.testing.assert_allclose(np.hypot(*noisy.T), np.hypot(*clean.T), atol=1e-6)  # noise turns, and no more
    turned = np.angle(np.exp(1j * (np.arctan2(*noisy.T) - np.arctan2(*clean.T)))) / 2.5
    assert 0.15 < turned[y == 0].std() < 0.25
    np.testing.assert_array_equal(noisy, data.spiral(seed=1)[0])
    assert (noisy != data.spiral(seed=2)[0]).any()


def test_unknown_set():
    with pytest.raises(DataError, match=r"'cifar'; expected one of digits, iris, diabetes, mnist, fashion-mnist$"):
        data.load("cifar")
