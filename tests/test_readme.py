"""The README's promises: its Python runs as printed, and Quick start is two lines."""

import re
import runpy
from pathlib import Path

import jax
import pytest

TEXT = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
PRINTED = re.search(r"^```text\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)[1]


@pytest.mark.parametrize("example", EXAMPLES, ids=["derivation", "training"])
def test_example_runs(example, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "example.py").write_text(example)
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        names = runpy.run_path("example.py")
    printed = capsys.readouterr().out
    if "run" in names:
        assert names["run"].history[-1]["validation_accuracy"] > 0.9
    else:
        assert printed.splitlines() == PRINTED.splitlines()


def test_quick_start_is_two_blocks_of_one_line():
    section = TEXT.split("\n## Quick start\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert [(language, body.count("\n")) for language, body in blocks] == [("sh", 1), ("sh", 1)]


def test_it_is_short():
    assert len(TEXT.splitlines()) <= 110
