"""What is judged, and by how much context; short runs on texts that are easy; what cannot be trained on."""

import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import char_gpt, harness
from funcnet import models
from funcnet.data import text
from funcnet.models import sampling
from funcnet.types import Layer

TINY = {"context": 8, "width": 16, "depth": 1, "heads": 2, "batch_size": 8, "learning_rate": 0.02}


@pytest.mark.parametrize("length", [2, 5, 8, 9, 12, 13, 100])
@pytest.mark.parametrize("context", [4, 7, 8])
def test_each_byte_but_the_first_counts_once_after_half_a_context_at_least(length, context):
    held_out = np.arange(1, length + 1).astype(np.uint8)
    inputs, targets, counted = char_gpt.windows(held_out, context)
    assert targets[counted == 1].tolist() == held_out[1:].tolist()
    rows, places = np.nonzero(counted)
    assert all(inputs[row, place] + 1 == targets[row, place] for row, place in zip(rows, places, strict=True))
    assert all(place >= context // 2 for row, place in zip(rows, places, strict=True) if row > 0)


def test_bits_are_those_of_what_the_network_says(monkeypatch):
    """A network that gives the byte after b, b + 1, probability ½ and all others the same share of the rest."""
    monkeypatch.setattr(char_gpt, "WINDOWS", 4)  # of 10, so that the last call is not full

    def fwd(params, x, key=None):
        next_one = jax.nn.one_hot(x + 1, 256, dtype=float)
        return jnp.log(0.5 * next_one + (1 - next_one) * 0.5 / 255), None

    held_out = np.array([1, 2, 3, 4, 9] * 9, np.uint8)
    judged = char_gpt.windows(held_out, 8)
    assert len(judged.inputs) == 10
    found = char_gpt.bits(Layer(None, fwd, None), None, judged)
    expected = np.where(np.diff(held_out.astype(int)) == 1, 1.0, 1 + np.log2(255))
    np.testing.assert_allclose(found[judged.counted == 1], expected, rtol=1e-12)
    assert char_gpt.bits_per_byte(Layer(None, fwd, None), None, judged) == pytest.approx(expected.mean())


@pytest.fixture
def as_users_run():
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def test_a_text_that_says_one_thing_is_learned(tmp_path, as_users_run, capsys, monkeypatch):
    monkeypatch.setattr(sampling, "generate", counting)
    (tmp_path / "a.txt").write_bytes(b"abcdef" * 70)
    char_gpt.main(char_gpt.Config(file=tmp_path / "a.txt", steps=40, prompt="ab", **TINY), tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["curve"][0][1] == pytest.approx(8, abs=0.5)
    assert metrics["curve"][-1][0] == metrics["steps"] == 40
    assert metrics["bits_per_byte"] < 1 < metrics["baselines"]["unigram"]  # a letter says the next
    assert metrics["sample"] == "ab" + "".join(chr(ord("c") + i % 20) for i in range(char_gpt.SHOWN))
    assert models.load_model(tmp_path).spec.settings["width"] == TINY["width"]
    assert "trigram" in capsys.readouterr().out
    assert (tmp_path / "char_gpt.png").read_bytes().startswith(b"\x89PNG")


def counting(config, params, prompt, count, key, *, temperature):
    """In the place of ``generate``: goes on from the prompt's last byte, and after v with c."""
    assert prompt.shape[1] + count <= config.context
    first = prompt[:, -1:] - ord("c") + 1
    return ord("c") + (first + jnp.arange(count)) % 20


def test_names_end_and_are_marked_where_they_are_known(monkeypatch, capsys):
    rows = [b"emma\navq", b"eve\n\n\nab", b"\nbob\n.\nx", b"alexande", b"em\x1b\nemma"]
    monkeypatch.setattr(char_gpt, "generate", lambda *args, **settings: np.array([[*row] for row in rows], np.uint8))
    data = text.Text(np.frombuffer(b"emma\nolivia\n", np.uint8), np.frombuffer(b"ava\neve\n", np.uint8))
    shown = char_gpt.show(char_gpt.Config(data="names", context=9), None, data, 0)
    assert shown == {"sample": ["emma*", "eve*", "em·"]}
    assert "emma*  eve*  em·" in capsys.readouterr().out


BAD = [
    (["--file", "nowhere.txt"], "nowhere.txt: No such file or directory"),
    (["--file", "empty.txt"], "empty.txt: holds 0 bytes; expected at least eleven"),
    (["--file", "ten.txt"], "ten.txt: holds 10 bytes; expected at least eleven"),
    (["--file", "short.txt"], "short.txt: 900 bytes to train on; .* --context 128 needs at least 2049"),
    (["--data", "names", "--file", "one.txt"], "one.txt: holds 1 distinct names, one per line; expected at least two"),
    (["--heads", "3"], "--heads divides --width 128; got 3"),
    (["--steps", "10"], "--steps is at least 20; got 10"),
    (["--context", "2"], "--context is at least 4; got 2"),
    (["--prompt", ""], "--prompt has at least one byte"),
    (["--temperature", "-1"], "--temperature is at least 0"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda value: " ".join(value) if len(value) < 5 else "")
def test_bad_input_is_one_line_and_status_2(arguments, message, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, content in {
        "empty.txt": "",
        "ten.txt": "x" * 10,
        "short.txt": "x" * 1000,
        "one.txt": "emma\nemma\n",
    }.items():
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(sys, "argv", ["char_gpt", *arguments])
    with pytest.raises(SystemExit) as stopped:
        harness.run("char_gpt", char_gpt.main, char_gpt.Config, char_gpt.__doc__)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)


def test_the_text_is_the_library_unless_given(monkeypatch):
    monkeypatch.setattr(text, "standard_library", lambda: text.Text(np.zeros(9999, np.uint8), np.ones(5, np.uint8)))
    assert len(char_gpt.load(char_gpt.Config()).train) == 9999
