"""The pages in docs/: their Python runs from top to bottom, and prints the text that stands directly below it.

And every link of every page leads somewhere.
"""

import re
import runpy
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
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
