"""``funcnet info``: what a run is, as text and as JSON."""

import json

import jax

from funcnet import models
from funcnet.__main__ import main
from funcnet.models import Images, Spec, save_model


def a_run(directory):
    spec = Spec("mlp", {"hidden": [3], "outputs": 2}, (4, 4), Images(), ("cat\x1b[2J", "dog"))
    save_model(directory, spec, models.mlp((3,), 2).init(jax.random.key(0), (4, 4))[0])
    metrics = {"experiment": "pets", "seconds": 3.25, "device": "cpu: x", "jax": "1", "accuracy": 0.75, "curve": [1, 2]}
    (directory / "metrics.json").write_text(json.dumps(metrics))
    (directory / "config.json").write_text('{"experiment": "pets", "epochs": 7}')
    (directory / "checkpoints").mkdir()
    (directory / "checkpoints" / "state").write_bytes(bytes(99))


def test_it_says_what_and_how_well(tmp_path, capsys):
    a_run(tmp_path)
    assert main(["info", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    for line in (
        "experiment  pets, finished, 3.2 s on cpu: x, jax 1",
        "config      epochs 7",
        "model       mlp: hidden 3, outputs 2",
        "inputs      images (4, 4)",
        "classes     cat·[2J, dog",
        "figures     accuracy 0.75",
    ):
        assert line in printed.splitlines()
    assert "checkpoints/ 99, " in printed
    assert "│ serial" in printed
    assert main(["info", str(tmp_path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["model"]["name"] == "mlp"
    assert document["figures"] == {"accuracy": 0.75}
    assert document["files"]["checkpoints/"] == 99
    assert document["finished"]


def test_a_run_without_a_model_and_an_unfinished_one(tmp_path, capsys):
    assert main(["info", str(tmp_path)]) == 2
    nothing = f"funcnet info: {tmp_path} holds no run: neither metrics.json nor config.json nor model.json\n"
    assert capsys.readouterr().err == nothing
    (tmp_path / "config.json").write_text('{"experiment": "iris"}')
    assert main(["info", str(tmp_path)]) == 0
    assert "experiment  iris, not finished" in capsys.readouterr().out.splitlines()
    for content in ("[]", "{", "[" * 10**5):
        (tmp_path / "metrics.json").write_text(content)
        assert main(["info", str(tmp_path)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"funcnet info: {tmp_path}/metrics.json holds no JSON object")
