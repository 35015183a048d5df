"""The pages in docs/: their Python runs from top to bottom, and prints the text that stands directly below it.

Every link of every page leads somewhere, and every rule has a page of derivation with all its parts. What the site's
build checks, tests/docs tries.
"""

import re
import runpy
from pathlib import Path

import jax
import pytest

from funcnet import ops

ROOT = Path(__file__).parent.parent
PAGES = sorted(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts)
ELSEWHERE = ("found",)  # needs the extra `world`: tests/world runs it


def examples(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if examples(page) and page.stem not in ELSEWHERE], ids=lambda page: page.stem
)
def test_examples_run(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("example.py").write_text("\n".join(examples(page)))
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        runpy.run_path("example.py")
    printed = capsys.readouterr().out
    for text in re.findall(r"^```\n```text\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL):
        assert text in printed


@pytest.mark.parametrize(
    "page",
    [*PAGES, *ROOT.glob("*.md"), *(ROOT / "funcnet").rglob("*.md")],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_links_lead_somewhere(page):
    prose = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", prose):
        assert (page.parent / link).exists(), link


def test_every_rule_has_its_derivation():
    pages = {page.stem: page.read_text("utf-8") for page in PAGES if page.parent.name == "derivations"}
    assert set(ops.__all__) - set(pages) == set()
    for name in ops.__all__:
        for part in ("map", "code", "example", "verdict"):
            assert f"```{{rule-{part}}}\n" in pages[name], f"{name} has no {part}"
        titles = re.findall(r"^## (.*)$", pages[name], re.MULTILINE)
        assert {"The derivation", "Saved and recomputed", "Where it goes wrong"} <= set(titles), name
        derivation = pages[name].partition("## The derivation")[2].partition("\n## ")[0]
        assert derivation.count("$$") >= 2 or "mathrm d" in derivation, f"{name} derives nothing"
