"""Results as a table, as JSON and as a JUnit file."""

import json
import re
from xml.etree import ElementTree

import pytest

from funcnet.gradcheck import Finding, Report
from funcnet.gradcheck.command.shown import Result, document, junit, show
from funcnet.gradcheck.command.worker import Checked

INFINITE = Report("a", "correct", (), {"x": float("inf"), "y": float("nan"), "z": 0.5}, ())
WHERE = {"file": "/far/rules.py", "line": 7, "source": "y = x"}
FINDINGS = tuple(Finding("x", "['w']", m, "is [bold]", **WHERE) for m in ("transposed", "path-lost"))
WRONG = Report("b", "wrong", FINDINGS, {"x": 2.0}, ())
RESULTS = [
    Result("one.py", Checked("a", "correct", INFINITE, 1.0)),
    Result("one.py", Checked("b", "wrong", WRONG, 2.0)),
    Result("two.py", Checked("c" * 5000, "cannot be checked", reason="\x00 is why")),
]


def test_json_has_no_infinity():
    shown = json.dumps(document(["one.py", "two.py"], "rules", RESULTS, ["three.py does not exist"], 2, seed=3))
    read = json.loads(shown, parse_constant=pytest.fail)
    assert read["rules"][0]["worst"] == {"x": None, "y": None, "z": 0.5}
    assert [rule["target"] for rule in read["rules"]] == ["one.py", "one.py"]
    assert read["unchecked"] == [{"target": "two.py", "name": "c" * 5000, "reason": "cannot be checked: \x00 is why"}]
    assert read["refused"] == ["three.py does not exist"]


def test_a_finding_with_a_line_shows_it(capsys):
    show(RESULTS[:2])
    out = capsys.readouterr().out
    assert re.search(r"b +wrong +2.0 +transposed rules.py:7 \(\+1\)", out)
    assert "dx['w']: transposed: is [bold]\n" in out
    assert out.endswith("\n1 correct, 1 wrong\n")


def test_a_name_may_be_long_and_targets_several(capsys):
    show(RESULTS)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 130
    assert f"cannot be checked: two.py: {'c' * 59}…: " in out


@pytest.mark.parametrize(("allowed", "kind"), [(False, "error"), (True, "skipped")])
def test_junit_is_xml_with_a_case_for_each(allowed, kind):
    root = ElementTree.fromstring(junit(RESULTS, ["three.py does not exist"], allowed))
    cases = [(case.get("name")[:9], [child.tag for child in case]) for case in root.iter("testcase")]
    assert cases == [("a", []), ("b", ["failure"]), ("ccccccccc", [kind]), ("three.py", ["error"])]
    assert [suite.get("failures") for suite in root][:2] == ["1", "0"]
    assert root.find(".//failure").text == str(WRONG)
