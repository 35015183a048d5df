"""The table of mistakes is the vocabulary: no finding goes beyond it, and nothing in it is never said."""

import ast
from pathlib import Path

import pytest

from funcnet import gradcheck
from funcnet.gradcheck.mistakes import MISTAKES

SOURCES = Path(gradcheck.__file__).parent


def test_a_finding_is_of_the_table():
    with pytest.raises(ValueError, match="'off-by-one' is not in the table of mistakes"):
        gradcheck.Finding("x", "", "off-by-one", "is off by one")


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_every_mistake_has_a_sentence_a_remedy_and_a_place_that_names_it(mistake):
    for text in (mistake.sentence, mistake.remedy):
        assert text[0].islower() or text[0] == "."
        assert not text.endswith(".")
        assert len(text) <= 100
    sources = [path for path in SOURCES.rglob("*.py") if path.name != "mistakes.py"]
    constants = (node for path in sources for node in ast.walk(ast.parse(path.read_text("utf-8"))))
    assert any(isinstance(node, ast.Constant) and node.value == mistake.id for node in constants)


def test_the_report_shows_each_remedy_once_and_json_holds_it():
    lost = [gradcheck.Finding("x", leaf, "path-lost") for leaf in ("", "['w']")]
    report = gradcheck.Report("f", "wrong", tuple(lost), {}, ())
    remedy = MISTAKES["path-lost"].remedy
    assert str(report).count(f"fix it: {remedy}") == 1
    assert str(report).count(MISTAKES["path-lost"].sentence) == 2
    assert [finding["remedy"] for finding in report.to_dict()["findings"]] == [remedy, remedy]


def test_the_docs_have_the_table():
    page = SOURCES.parent.parent / "docs" / "mistakes.md"
    rows = [f"| `{mistake.id}` | {mistake.sentence} | {mistake.remedy} |" for mistake in gradcheck.MISTAKES.values()]
    assert "\n".join(["| mistake | the gradient … | to fix it |", "|---|---|---|", *rows]) in page.read_text("utf-8")
