"""The site: it builds without a warning and reads without a network; a page that says what is not so ends the build.

Needs the extra ``docs``.
"""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent.parent / "docs"
CONF = f"""
import sys
sys.path[:0] = [{str(DOCS.parent)!r}, {str(DOCS / "_ext")!r}]
extensions = ["myst_parser", "mathematics", "mistake_pages", "networks", "rule_pages"]
myst_enable_extensions = ["dollarmath"]
"""


def build(docs: Path, out: Path) -> subprocess.CompletedProcess:
    pytest.importorskip("sphinx")
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-b",
        "html",
        "-d",
        out / "doctrees",
        docs,
        out / "html",
    ]
    return subprocess.run(command, capture_output=True, text=True, cwd=DOCS.parent)


@pytest.mark.slow
def test_the_site_builds_and_reads_offline(tmp_path):
    built = build(DOCS, tmp_path)
    said = [line for line in built.stderr.splitlines() if not line.startswith("[IPKernelApp]")]  # of sockets
    assert (built.returncode, said) == (0, [])
    pages = list((tmp_path / "html").rglob("*.html"))
    assert len(pages) > 90
    for page in [*pages, *(tmp_path / "html").rglob("*.css")]:
        text = page.read_text("utf-8")
        loaded = re.findall(
            r'(?:<script[^>]* src|<link[^>]* href|<img[^>]* src|url)[=(]["\']?((?:https?:)?//[^"\')]*)', text
        )
        assert not loaded, page
        assert "math notranslate" not in text, page  # a formula that nothing set


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "text", "said"),
    [
        (
            "derivations/relu",
            "---\nrule: 'relu._replace(bwd=lambda positive, dy: (dy,))'\n---\n# relu\n```{rule-verdict}\n```\n",
            "wrong-mask",
        ),
        (
            "derivations/tanh",
            "# tanh\n```{rule-example}\nx = [float('nan')]\ndy = [2.0]\n```\n```{rule-verdict}\n```\n",
            "derivations/tanh: RuntimeError: dx is",
        ),
        ("index", "# a formula\n$\\fracc12$\n", "Undefined control sequence"),
        ("index", "# a picture\n```{network}\nx -> y: of no node | dx\n```\n", "an edge leads to x, which is no node"),
        ("index", "# mistakes\n```{mistakes}\npath-lost | a cause | none\n```\n", "not one line for each mistake"),
    ],
    ids=["a wrong rule", "an example", "a formula", "a picture", "mistakes"],
)
def test_what_is_not_so_cannot_be_built(page, text, said, tmp_path):
    (tmp_path / "docs" / "derivations").mkdir(parents=True)
    (tmp_path / "docs" / "conf.py").write_text(CONF)
    (tmp_path / "docs" / "index.md").write_text("# index\n")
    (tmp_path / "docs" / f"{page}.md").write_text(text)
    built = build(tmp_path / "docs", tmp_path)
    assert built.returncode
    assert said in built.stderr
