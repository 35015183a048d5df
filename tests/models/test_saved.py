"""Saved models: what is loaded predicts as what was saved, to the bit; anything else is one line."""

import json

import jax
import numpy as np
import pytest

from funcnet import models, ops
from funcnet.checkpoint import CheckpointError
from funcnet.data.tables import Column
from funcnet.models import Arrays, Images, ModelError, Spec, Table, Text, load_model, save_model, saved
from tests.trees import assert_equal

TABLE = Table((Column("size", (), 2.5, True), Column("kind", ("a", "b"))), (1.0, 0.5, 0.0, 0.0), (2.0, 0.5, 1.0, 1.0))
GPT = {"vocabulary": 256, "context": 6, "width": 8, "depth": 1, "heads": 2, "rotary_base": 100.0}
SPECS = {
    "images": Spec("mlp", {"hidden": [6], "outputs": 3}, (5, 4), Images(16, 1), ("a", "b", "c")),
    "lenet": Spec("lenet", {"classes": 2, "channels": [2], "hidden": [3]}, (9, 9, 1), Images(), ("no", "yes")),
    "table": Spec("mlp", {"hidden": [6], "outputs": 2}, (4,), TABLE, ("0", "1"), "answer"),
    "regression": Spec("mlp", {"hidden": [6], "outputs": 1}, (4,), TABLE, (), "price", 100.0, 7.0),
    "text": Spec("gpt", GPT, (6,), Text()),
    "arrays": Spec("mlp", {"hidden": [6], "outputs": 2}, (3,)),
}


def made(spec, seed=0):
    net = models.build(spec.model, spec.settings)
    return net, net.init(jax.random.key(seed), spec.in_shape)[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_a_model_comes_back_and_predicts_as_before(name, tmp_path):
    spec = SPECS[name]
    net, params = made(spec)
    save_model(tmp_path, spec, params)
    model = load_model(tmp_path)
    assert model.spec == spec
    assert_equal(model.params, params)
    rng = np.random.default_rng(0)
    x = rng.integers(256, size=(3, 6)).astype(np.int32) if name == "text" else rng.normal(size=(3, *spec.in_shape))
    given = np.asarray(model.predict(model.params, x))
    if isinstance(spec.inputs, Table):
        x = (x - np.array(TABLE.mean)) / np.array(TABLE.std)
    y = net.fwd(params, x)[0]
    expected = {"regression": lambda: 100 + 7 * y[:, 0], "arrays": lambda: y}.get(name, lambda: ops.softmax.fwd(y)[0])()
    np.testing.assert_allclose(given, expected, rtol=1e-12)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "weights.safetensors"]


def test_anything_changed_afterwards_is_refused(tmp_path):
    save_model(tmp_path, SPECS["images"], made(SPECS["images"])[1])
    path = tmp_path / "model.json"
    text = path.read_text()
    path.write_text(text.replace('"white": 16', '"white": 17'))
    with pytest.raises(ModelError, match=r"model\.json: was damaged or changed after it was written"):
        load_model(tmp_path)
    path.write_text(json.dumps(json.loads(text)))  # other spaces are no other values
    load_model(tmp_path)
    save_model(tmp_path / "other", SPECS["images"], made(SPECS["images"], seed=1)[1])
    (tmp_path / "other" / "weights.safetensors").replace(tmp_path / "weights.safetensors")
    with pytest.raises(CheckpointError, match="these are not the values that were saved"):
        load_model(tmp_path)


BAD = [
    ("model", "cat", "there is no model 'cat'"),
    ("model", 3, "model is 3; expected str"),
    ("settings", [], r"settings is \[\]; expected dict"),
    ("settings", {"hidden": [6], "outputs": 4}, r"the network gives \(4,\); expected \(3,\)"),
    ("settings", {"hidden": [7], "outputs": 3}, r"1\.b has shape \(6,\); expected \(7,\)"),
    ("settings", {"hidden": [2**20] * 9, "outputs": 3}, "1.b has shape"),
    ("in_shape", [5], r"in_shape \(5,\) is no image"),
    ("in_shape", [2**30, 2**30], "is no shape of at most"),
    ("in_shape", [5, True], "in_shape is True; expected int"),
    ("in_shape", [5, 0], r"in_shape \(5, 0\) is no shape"),
    ("inputs", {"kind": "sound"}, "inputs is 'sound'; expected one of arrays, images, table, text"),
    ("inputs", {"kind": "images", "white": 0, "margin": 1}, "white 0 and margin 1 describe no image"),
    ("inputs", {"kind": "images", "white": 1}, "margin is None; expected int"),
    ("inputs", {"kind": "text"}, r"the network gives \(3,\); expected"),
    ("classes", ["a", 3, "c"], "classes is 3; expected str"),
    ("classes", ["a"], r"the network gives \(3,\); expected \(1,\)"),
    ("mean", "0", "mean is '0'; expected float"),
    ("weights", None, "weights is None; expected str"),
    ("funcnet", 2, "describes no model of funcnet, or one of a later version"),
]


@pytest.mark.parametrize(("field", "value", "message"), BAD, ids=[f"{f}-{v!s:.30}" for f, v, _ in BAD])
def test_a_hostile_document_is_one_line(field, value, message, tmp_path):
    save_model(tmp_path, SPECS["images"], made(SPECS["images"])[1])
    path = tmp_path / "model.json"
    document = json.loads(path.read_text()) | {field: value}
    path.write_text(json.dumps(document | {"digest": saved._digest(document)}))
    with pytest.raises((ModelError, CheckpointError), match=message) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"[]", b"9" * 5000, b'{"funcnet": NaN}'])
def test_what_is_no_document_is_one_line(content, tmp_path):
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.json: (is no JSON|describes no model)"):
        load_model(tmp_path)
    with pytest.raises(ModelError, match=r"nowhere/model\.json: No such file"):
        load_model(tmp_path / "nowhere")


def test_what_does_not_fit_is_refused_before_it_is_saved(tmp_path):
    _, params = made(SPECS["images"])
    with pytest.raises(ModelError, match=r"params have float64 \(6,\) for 1\.b; the network has float64 \(7,\)"):
        save_model(tmp_path, SPECS["images"]._replace(settings={"hidden": [7], "outputs": 3}), params)
    with pytest.raises(ModelError, match=r"the network gives \(3,\); expected \(2,\)"):
        save_model(tmp_path, SPECS["images"]._replace(classes=("a", "b")), params)
    with pytest.raises(ModelError, match="describe"):
        save_model(tmp_path, SPECS["images"]._replace(inputs=Images(0)), params)
    with pytest.raises(ModelError, match="its columns have 4 features"):
        save_model(tmp_path, SPECS["table"]._replace(inputs=TABLE._replace(std=(1.0, 0.0, 1.0, 1.0))), params)
    assert not list(tmp_path.iterdir())


def test_code_that_a_file_names_is_not_run_unasked(tmp_path):
    path = tmp_path / "net.py"
    path.write_text("from funcnet import dense\ndef make(width):\n    return dense(width)\n")
    spec = Spec(f"{path}:make", {"width": 3}, (4,), Arrays())
    _, params = made(spec)
    save_model(tmp_path / "run", spec, params)
    marker = tmp_path / "ran"
    path.write_text(path.read_text() + f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n")
    with pytest.raises(ModelError, match=r"its network is the user's own, '.*net\.py.*; say where it is: --network"):
        load_model(tmp_path / "run")
    assert not marker.exists()
    model = load_model(tmp_path / "run", f"{path}:make")
    assert_equal(model.params, params)
    assert marker.exists()
