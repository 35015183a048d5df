"""The gallery: what a quick run says and leaves, and that a verdict that is not as it must be ends it with status 1."""

import json
import re

import jax
import pytest

from experiments import known_mistakes, mistakes


@pytest.fixture(autouse=True)
def defaults():
    """What users have, where the other tests are strict."""
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.slow
def test_a_quick_run_names_every_mistake(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")  # a narrower table breaks the lines that are looked for
    known_mistakes.main(known_mistakes.Config(quick=True), tmp_path)
    printed = capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    expected = known_mistakes.some()
    assert [row["name"] for row in metrics["entries"]] == [entry.name for entry in expected]
    for row, entry in zip(metrics["entries"], expected, strict=True):
        assert (row["right_verdict"], row["verdict"]) == ("correct", entry.verdict)
        assert (row["mistake"], row["source"]) == (entry.mistake, entry.line)
        assert re.search(rf"^(note )?{entry.where} .* {entry.verdict} .*{entry.mistake}", printed, re.MULTILINE)
        assert not entry.line or f"{row['line']}: {entry.line}" in printed
    assert max(map(len, printed.split("\n\n")[0].splitlines())) <= 100
    assert (tmp_path / "known_mistakes.png").read_bytes().startswith(b"\x89PNG")


def test_every_entry_is_there_once_and_its_line_is_in_its_forward():
    names = [entry.name for entry in mistakes.GALLERY]
    assert len(names) == len(set(names)) >= 20
    for entry in mistakes.GALLERY:
        if entry.line:
            with open(entry.right.fwd.__code__.co_filename) as source:
                assert sum(line.strip() == entry.line for line in source) == 1


def test_a_right_gradient_gone_wrong_is_status_1(tmp_path, capsys, monkeypatch):
    entry = next(entry for entry in mistakes.GALLERY if entry.name == "mae_sign")
    spoiled = entry.right._replace(bwd=lambda *args: jax.tree.map(lambda g: 1.001 * g, entry.right.bwd(*args)))
    monkeypatch.setattr(mistakes, "GALLERY", [entry._replace(right=spoiled)])
    with pytest.raises(SystemExit) as stopped:
        known_mistakes.main(known_mistakes.Config(), tmp_path)
    assert stopped.value.code == 1
    printed = capsys.readouterr()
    assert "0 of 1: the published one is caught" in printed.out
    assert "wrong-scale" in printed.err
