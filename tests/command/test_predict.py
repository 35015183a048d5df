"""``funcnet predict``: what it reads, what it prints, and one line for whatever does not suit the model."""

import gzip
import itertools
import json
import struct

import jax
import numpy as np
import pytest

from funcnet import models, ops
from funcnet.__main__ import main
from funcnet.command import predict
from funcnet.data import tables
from funcnet.models import Arrays, Images, Spec, Table, Text, save_model

SHAPE = (5, 4)
IMAGES = np.random.default_rng(0).integers(17, size=(3, *SHAPE)).astype(np.uint8)


@pytest.fixture(scope="module", autouse=True)
def float32():
    """What users have, where the other tests have float64."""
    with jax.enable_x64(False):
        yield


def saved(directory, spec):
    params, _ = models.build(spec.model, spec.settings).init(jax.random.key(0), spec.in_shape)
    save_model(directory, spec, params)
    return str(directory)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    spec = Spec("mlp", {"hidden": [6], "outputs": 3}, SHAPE, Images(16, 0), ("a", "b", "c"))
    base = tmp_path_factory.mktemp("runs")
    for number in ("001", "002", "010"):
        saved(base / number, spec)
    return str(base)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    config = {"vocabulary": 256, "context": 8, "width": 8, "depth": 1, "heads": 2, "rotary_base": 100.0}
    return saved(tmp_path_factory.mktemp("text"), Spec("gpt", config, (8,), Text()))


@pytest.fixture
def asked(capsys):
    """The JSON document of a call."""

    def ask(*arguments):
        capsys.readouterr()
        assert main(["predict", *map(str, arguments), "--json"]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)

    return ask


@pytest.fixture
def refused(capsys):
    """The line that a bad call ends with."""

    def ask(*arguments):
        capsys.readouterr()
        assert main(["predict", *map(str, arguments)]) == 2
        printed = capsys.readouterr()
        assert not printed.out
        (line,) = printed.err.splitlines()
        assert line.startswith("funcnet predict: ")
        return line.removeprefix("funcnet predict: ")

    return ask


def probabilities(run, x):
    model = models.load_model(run)
    return np.asarray(ops.softmax.fwd(model.net.fwd(model.params, np.asarray(x, np.float32))[0])[0])


def test_images_of_every_format_are_the_same_images(images, tmp_path, asked):
    expected = probabilities(f"{images}/010", IMAGES / 16)
    idx = b"\0\0\x08\x03" + struct.pack(">3I", *IMAGES.shape) + IMAGES.tobytes()
    np.save(tmp_path / "a.npy", IMAGES)
    np.save(tmp_path / "whole.npy", IMAGES.astype(float))
    np.save(tmp_path / "scaled.npy", IMAGES / 16)
    np.savez(tmp_path / "a.npz", x=IMAGES, y=[1, 2, 3])
    (tmp_path / "a.idx").write_bytes(idx)
    (tmp_path / "a.idx.gz").write_bytes(gzip.compress(idx))
    for path in sorted(tmp_path.iterdir()):
        document = asked(images, path)
        assert document["classes"] == ["a", "b", "c"]
        found = [row["probabilities"] for row in document["predictions"]]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        assert [row["class"] for row in document["predictions"]] == ["abc"[k] for k in expected.argmax(axis=1)]
    np.save(tmp_path / "one.npy", IMAGES[1])
    (one,) = asked(images, tmp_path / "one.npy")["predictions"]
    np.testing.assert_allclose(one["probabilities"], expected[1], rtol=1e-5)


def test_a_picture_is_a_single_image(images, tmp_path, asked):
    from PIL import Image

    Image.fromarray((IMAGES[0] * 15).astype(np.uint8)).save(tmp_path / "a.png")
    (one,) = asked(images, tmp_path / "a.png")["predictions"]
    ink = IMAGES[0] * 15 / 255
    edge = np.concatenate([ink[0], ink[-1], ink[:, 0], ink[:, -1]])
    expected = probabilities(f"{images}/010", (1 - ink if np.median(edge) > 0.5 else ink)[None])
    np.testing.assert_allclose(one["probabilities"], expected[0], rtol=1e-5)


def test_many_images_are_predicted_in_parts(images, tmp_path, asked, capsys, monkeypatch):
    monkeypatch.setattr(predict, "BATCH", 7)
    many = np.random.default_rng(1).random((30, *SHAPE))
    np.save(tmp_path / "a.npy", many)
    found = [row["probabilities"] for row in asked(images, tmp_path / "a.npy")["predictions"]]
    np.testing.assert_allclose(found, probabilities(f"{images}/010", many), rtol=1e-5)
    assert main(["predict", images, str(tmp_path / "a.npy")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["row", "class", "probability", "or", "probability"]
    assert lines[-1] == "… 10 more rows; --json prints all"
    assert len(lines) == 22


def test_a_channel_may_be_missing(tmp_path, asked):
    spec = Spec("lenet", {"classes": 2, "channels": [2], "hidden": [3]}, (9, 9, 1), Images(), ("no", "yes"))
    run = saved(tmp_path / "run", spec)
    x = np.random.default_rng(0).random((2, 9, 9))
    for name, array in (("two", x), ("four", x[..., None]), ("one", x[0])):
        np.save(tmp_path / f"{name}.npy", array)
    two, four, one = (asked(run, tmp_path / f"{name}.npy")["predictions"] for name in ("two", "four", "one"))
    assert two == four
    assert one[0]["probabilities"] == pytest.approx(two[0]["probabilities"], rel=1e-5)


def table(directory, rows, **settings):
    path = directory / "train.csv"
    path.write_text("size,kind\n" + rows)
    columns = tuple(tables.learn_columns(tables.read_csv(path))[0])
    features = sum(column.features for column in columns)
    inputs = Table(columns, (0.5,) * features, (2.0,) * features)
    outputs = len(settings.get("classes", "x"))
    return saved(directory / "run", Spec("mlp", {"hidden": [4], "outputs": outputs}, (features,), inputs, **settings))


def test_rows_of_a_table_in_their_own_units(tmp_path, asked, capsys):
    run = table(tmp_path, "1,red\n2,blue\n4,red\n", classes=("1", "2"), target="answer")
    (tmp_path / "a.csv").write_text("kind,answer,size\nblue,1,3\nred,2,1\ngreen,,2\n")
    document = asked(run, tmp_path / "a.csv")
    x = (np.array([[3, 1, 0], [1, 0, 1], [2, 0, 0]], np.float32) - 0.5) / 2
    expected = probabilities(run, x)
    np.testing.assert_allclose([row["probabilities"] for row in document["predictions"]], expected, rtol=1e-5)
    assert document["known"] == 2
    assert document["accuracy"] == (expected.argmax(axis=1)[:2] == [0, 1]).mean()
    assert main(["predict", run, str(tmp_path / "a.csv")]) == 0
    printed = capsys.readouterr()
    assert printed.err == f"{tmp_path}/a.csv: kind: 'green' in row 3 is new; taken as none of its categories\n"
    assert printed.out.splitlines()[0].split()[:2] == ["row", "answer"]
    assert printed.out.splitlines()[-1].endswith("on the 2 rows whose answer is known")


def test_a_regression_predicts_values(tmp_path, asked):
    run = table(tmp_path, "1,red\n2,blue\n4,red\n", target="price", mean=100.0, std=5.0)
    (tmp_path / "a.csv").write_text("size,kind,price\n3,blue,100\n1,red,\n")
    document = asked(run, tmp_path / "a.csv")
    model = models.load_model(run)
    x = (np.array([[3, 1, 0], [1, 0, 1]], np.float32) - 0.5) / 2
    expected = 100 + 5 * np.asarray(model.net.fwd(model.params, x)[0])[:, 0]
    np.testing.assert_allclose(document["predictions"], expected, rtol=1e-5)
    assert document["rmse"] == pytest.approx(abs(expected[0] - 100), rel=1e-4)
    assert document["target"] == "price"


def test_text_is_judged_and_continued(text, tmp_path, asked, capsys):
    (tmp_path / "a.txt").write_bytes(b"before it: some text")
    document = asked(text, tmp_path / "a.txt")
    model = models.load_model(text)
    tokens = np.frombuffer(b"ome text", np.uint8).astype(np.int32)[None]
    p = np.asarray(ops.softmax.fwd(model.net.fwd(model.params, tokens)[0])[0])[0]
    assert document["bits_per_byte"] == pytest.approx(-np.log2(p[np.arange(7), tokens[0, 1:]]).mean(), rel=1e-4)
    assert [row["byte"] for row in document["next"]] == np.argsort(-p[-1], kind="stable")[:10].tolist()
    assert (document["read"], document["of"]) == (8, 20)
    assert main(["predict", text, str(tmp_path / "a.txt")]) == 0
    assert capsys.readouterr().out.startswith("the last 8 of 20 bytes, ")


def test_arrays_go_in_and_come_out_as_they_are(tmp_path, asked, refused):
    run = saved(tmp_path / "run", Spec("mlp", {"hidden": [4], "outputs": 2}, (3,), Arrays()))
    x = np.random.default_rng(0).normal(size=(2, 3))
    np.save(tmp_path / "a.npy", x)
    model = models.load_model(run)
    expected = model.net.fwd(model.params, x.astype(np.float32))[0]
    np.testing.assert_allclose(asked(run, tmp_path / "a.npy")["predictions"], expected, rtol=1e-5)
    for factor in (np.nan, np.inf, 1e300):
        np.save(tmp_path / "b.npy", x * factor)
        assert refused(run, tmp_path / "b.npy").endswith("b.npy holds NaN, infinity or numbers beyond float32")
    np.save(tmp_path / "c.npy", 3.4e38 * np.array(list(itertools.product((-1, 1), repeat=3))))
    assert "the model predicts NaN or infinity" in refused(run, tmp_path / "c.npy")


def test_what_does_not_suit_is_one_line(images, text, tmp_path, refused):
    def array(value):
        np.save(tmp_path / "x.npy", value)
        return tmp_path / "x.npy"

    expected = "expected whole numbers from 0 to 16, or any from 0 to 1"
    assert refused(images, array(IMAGES * 8)).endswith(f"holds uint8 from 0 to 128; {expected}")
    assert refused(images, array(IMAGES - 0.5)).endswith(expected)
    assert refused(images, array(np.full(SHAPE, np.nan))).endswith(expected)
    assert refused(images, array(np.zeros((3, 4, 5)))).endswith("of shape (3, 4, 5); expected (N, 5, 4) or (5, 4)")
    assert refused(images, array(np.zeros((0, 5, 4)))).endswith("x.npy holds no examples")
    assert refused(images, tmp_path).endswith(f"{tmp_path} is a directory; expected a file")
    assert refused(images, tmp_path / "none").endswith("none: No such file or directory")
    assert refused(tmp_path / "none", tmp_path / "x.npy").startswith(f"{tmp_path}/none is no directory; expected")
    assert refused(tmp_path, tmp_path / "x.npy").startswith(f"{tmp_path} holds no model.json; experiments that")
    (tmp_path / "empty").touch()
    assert refused(text, tmp_path / "empty").endswith("empty is empty; expected text")
    assert refused(images, tmp_path / "empty").endswith("is neither npy, npz nor IDX")


def test_code_of_the_user_is_named_by_the_user(tmp_path, asked, refused):
    net = tmp_path / "net.py"
    net.write_text("from funcnet import dense\nlayer = dense(2)\n")
    run = saved(tmp_path / "run", Spec(f"{net}:layer", {}, (3,), Arrays()))
    np.save(tmp_path / "a.npy", np.ones(3))
    assert "say where it is: --network FILE.py:NAME" in refused(run, tmp_path / "a.npy")
    assert len(asked(run, tmp_path / "a.npy", "--network", f"{net}:layer")["predictions"][0]) == 2
