"""``funcnet sample``: text from a trained GPT."""

import jax
import pytest

from funcnet import models
from funcnet.__main__ import main
from funcnet.data.text import printable
from funcnet.models import GPTConfig, Images, Spec, Text, generate_bytes, save_model

CONFIG = GPTConfig(256, 8, 8, 1, 2, rotary_base=100.0)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with jax.enable_x64(False):
        directory = tmp_path_factory.mktemp("run")
        params, _ = models.gpt(CONFIG).init(jax.random.key(0), (8,))
        save_model(directory, Spec("gpt", dict(CONFIG._asdict()), (8,), Text()), params)
        yield str(directory), params


def test_it_writes_what_the_model_draws(run, capsys):
    where, params = run
    ask = ["sample", where, "--prompt", "ab", "--length", "21", "--temperature", "0.5", "--top-k", "9", "--seed", "3"]
    assert main(ask) == 0
    drawn = generate_bytes(CONFIG, params, b"ab", 21, jax.random.key(3), temperature=0.5, top_k=9)
    assert len(drawn) == 23
    assert capsys.readouterr().out == printable(drawn) + "\n"


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--length", "0"], "argument --length: expected a whole number of at least 1 and at most 1048576; got '0'"),
        (["--temperature", "nan"], "argument --temperature: expected a number of at least 0; got 'nan'"),
        (["--temperature", "inf"], "argument --temperature: expected a number of at least 0; got 'inf'"),
        (["--top-k", "257"], "argument --top-k: expected a whole number of at least 1 and at most 256; got '257'"),
        (["--seed", "-1"], "argument --seed: expected a whole number of at least 0 and at most 4294967295; got '-1'"),
        (["--prompt", ""], "--prompt has at least one byte"),
    ],
)
def test_bad_flags_are_one_line(run, flags, line, capsys):
    try:
        status = main(["sample", run[0], *flags])
    except SystemExit as stopped:
        status = stopped.code
    assert status == 2
    printed = capsys.readouterr()
    assert (printed.out, len(printed.err.splitlines())) == ("", 1)
    assert line in printed.err


def test_only_a_gpt_writes(tmp_path, capsys):
    spec = Spec("mlp", {"hidden": [3], "outputs": 2}, (4, 4), Images(), ("a", "b"))
    save_model(tmp_path, spec, models.mlp((3,), 2).init(jax.random.key(0), (4, 4))[0])
    assert main(["sample", str(tmp_path)]) == 2
    expected = f"funcnet sample: {tmp_path} holds the model mlp; only a GPT on bytes writes text\n"
    assert capsys.readouterr().err == expected
