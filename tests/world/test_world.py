"""The tables of this directory hold together, and, if the extra ``world`` is there, the checker is right about them."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from funcnet.gradcheck.mistakes import MISTAKES
from tests.world.functions import FUNCTIONS
from tests.world.planted import PLANTED

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "found.md").read_text("utf-8")

published = pytest.mark.skipif(find_spec("ott") is None, reason="needs the extra `world`")


def run(*arguments: str, **how) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, with the settings of users and not with those of the suite."""
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, text=True, **how)


def test_names_are_distinct():
    names = [row.name for row in (*FUNCTIONS, *PLANTED)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_planted_mistakes_have_ids_of_the_table(planted):
    assert planted.row.wrong
    assert planted.mistakes
    assert set(planted.mistakes) <= set(MISTAKES)


@published
@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [("--third", "1"), ("--third", "2"), ("--third", "3"), ("--planted",)], ids=" ".join
)
def test_the_checker_is_right(arguments):
    assert run("-m", "tests.world", *arguments).returncode == 0


@published
@pytest.mark.slow
def test_reproductions_print_what_the_page_says(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```\n```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "found.py").write_text("\n".join(code for code, _ in blocks))
    found = run(str(tmp_path / "found.py"), capture_output=True)
    assert found.stdout == "".join(printed for _, printed in blocks), found.stderr
