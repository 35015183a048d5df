"""``funcnet export``: the artifact is called where there is no funcnet, for any batch; ONNX agrees with it."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from funcnet import models
from funcnet.__main__ import main
from funcnet.command import export
from funcnet.data.tables import Column
from funcnet.models import Images, Spec, Table, Text, load_model, save_model

ALONE = """
import sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("funcnet", "experiments", "orbax", "safetensors", "rich", "jaxtyping"):
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Refused())
import jax, numpy as np

artifact = jax.export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
assert artifact.platforms == ("cpu", "cuda", "tpu")
for n in (1, 5):
    x = np.load(sys.argv[2])[:n]
    np.save(f"{sys.argv[3]}.{n}.npy", artifact.call(x))
"""
TABLE = Table((Column("size", (), 2.5, True), Column("kind", ("a", "b"))), (1.0, 0.5, 0.0, 0.0), (2.0, 0.5, 1.0, 1.0))
GPT = {"vocabulary": 256, "context": 6, "width": 8, "depth": 1, "heads": 2, "rotary_base": 100.0}
SPECS = {
    "mlp": Spec("mlp", {"hidden": [6], "outputs": 3}, (5, 4), Images(16, 1), ("a", "b", "c")),
    "lenet": Spec("lenet", {"classes": 2, "channels": [2], "hidden": [3]}, (9, 9, 1), Images(), ("no", "yes")),
    "resnet": Spec("resnet", {"classes": 2, "stages": [2, 3], "blocks": 1}, (6, 6, 1), Images(), ("no", "yes")),
    "table": Spec("mlp", {"hidden": [6], "outputs": 1}, (4,), TABLE, (), "price", 100.0, 7.0),
    "gpt": Spec("gpt", GPT, (6,), Text()),
    "gpt in blocks": Spec("gpt", GPT | {"block": 3}, (6,), Text()),
}


@pytest.fixture(autouse=True)
def float32():
    with jax.enable_x64(False):
        yield


def run(directory, name):
    spec = SPECS[name]
    save_model(directory, spec, models.build(spec.model, spec.settings).init(jax.random.key(0), spec.in_shape)[0])
    return load_model(directory)


def inputs(spec, count):
    rng = np.random.default_rng(0)
    if isinstance(spec.inputs, Text):
        return rng.integers(256, size=(count, *spec.in_shape)).astype(np.int32)
    return rng.random((count, *spec.in_shape), np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
def test_the_artifact_takes_any_batch(name, tmp_path, capsys):
    model = run(tmp_path / "run", name)
    assert main(["export", str(tmp_path / "run"), "-o", str(tmp_path / "a.jax")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"wrote {tmp_path}/a.jax: ")
    assert "for cpu, cuda, tpu; read again, off by " in printed
    artifact = jax.export.deserialize(bytearray((tmp_path / "a.jax").read_bytes()))
    for count in (1, 7):
        x = inputs(model.spec, count)
        np.testing.assert_allclose(artifact.call(x), model.predict(model.params, x), rtol=1e-4, atol=1e-6)
    if name == "gpt":
        x = inputs(model.spec, 2)[:, :4]
        np.testing.assert_allclose(artifact.call(x), model.predict(model.params, x), rtol=1e-4, atol=1e-6)


def test_it_is_called_by_jax_alone(tmp_path):
    model = run(tmp_path / "run", "lenet")
    assert main(["export", str(tmp_path / "run"), "-o", str(tmp_path / "a.jax")]) == 0
    x = inputs(model.spec, 5)
    np.save(tmp_path / "x.npy", x)
    ask = [sys.executable, "-c", ALONE, *(str(tmp_path / name) for name in ("a.jax", "x.npy", "y"))]
    done = subprocess.run(ask, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for n in (1, 5):
        expected = model.predict(model.params, x[:n])
        np.testing.assert_allclose(np.load(tmp_path / f"y.{n}.npy"), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["mlp", "lenet", "table", "gpt"])
def test_onnx_agrees(name, tmp_path, capsys):
    pytest.importorskip("jax2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    model = run(tmp_path / "run", name)
    assert main(["export", str(tmp_path / "run"), "--onnx", "-o", str(tmp_path / "a.onnx")]) == 0
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx", providers=["CPUExecutionProvider"])
    x = inputs(model.spec, 1)
    (found,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(found, model.predict(model.params, x), rtol=1e-4, atol=1e-6)


def test_what_cannot_be_written_is_one_line(tmp_path, capsys, monkeypatch):
    run(tmp_path / "run", "mlp")
    asks = {
        str(tmp_path): "is no regular file",
        str(tmp_path / "none" / "a.jax"): f"there is no directory {tmp_path}/none",
    }
    for out, message in asks.items():
        assert main(["export", str(tmp_path / "run"), "-o", out]) == 2
        assert capsys.readouterr().err == f"funcnet export: --out {out}: {message}\n"
    right = export.to_jax
    monkeypatch.setattr(export, "to_jax", lambda model: (b"", lambda x: 1 + right(model)[1](x), "wrong"))
    assert main(["export", str(tmp_path / "run"), "-o", str(tmp_path / "a.jax")]) == 2
    assert "what was exported is off by " in capsys.readouterr().err
    assert not (tmp_path / "a.jax").exists()
