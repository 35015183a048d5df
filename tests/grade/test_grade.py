"""``funcnet grade``: what submissions earn, the reports, and what is refused."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from funcnet.__main__ import main
from funcnet.grade.papers import papers, remarks
from funcnet.grade.wire import HEAD, WireError, pack, sizes, unpack
from tests.grade.submissions import KEY, RIGHT, ROWS, Row, differs, edited, write

BY_NAME = {row.name: row for row in ROWS}
QUICK = ("right", "lost_path", "forges", "link")


def test_right_half_right_forged_and_linked_in_all_reports(tmp_path, capsys):
    folder, key = write([BY_NAME[name] for name in QUICK], tmp_path)
    out = tmp_path / "out"
    status = main(["grade", str(folder), "--key", str(key), "--out", str(out), "--gradescope", "--seed", "3"])
    assert status == 1
    printed = capsys.readouterr().out
    assert "lost_path  4 of 5  graded" in printed
    for name in QUICK:
        assert not differs(BY_NAME[name], json.loads((out / f"{name}.json").read_text()))
    rows = {row["student"]: row for row in csv.DictReader((out / "grades.csv").read_text().splitlines())}
    assert (rows["right"]["points"], rows["right"]["out of"], rows["right"]["status"]) == ("5", "5", "graded")
    assert (rows["lost_path"]["softmax.dx"], rows["lost_path"]["dense.db"]) == ("1", "1")
    assert (rows["forges"]["softmax.dx"], rows["forges"]["dense.dx"]) == ("2", "0")
    results = json.loads((out / "lost_path.results.json").read_text())
    assert results["score"] == sum(test["score"] for test in results["tests"]) == 4
    worst = results["tests"][0]
    assert (worst["name"], worst["score"], worst["max_score"], worst["status"]) == ("softmax.dx", 1, 2, "failed")
    assert "path-lost" in worst["output"]
    assert "look at" not in worst["output"]  # the line is the third hint, and two are given


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_submission_is_treated_as_it_must_be(row, tmp_path, capsys, monkeypatch):
    folder, key = write([row], tmp_path)
    monkeypatch.chdir(tmp_path)
    words = ["grade", str(folder), "--key", str(key), "--json", "--hints", "4", "--timeout", "10"]
    assert main(words) == (row.status != "graded")
    (student,) = json.loads(capsys.readouterr().out)["students"]
    assert not differs(row, student)


REFUSED = {
    ("nowhere", "key.py"): "nowhere is no folder of submissions",
    ("empty", "key.py"): "empty holds no submissions",
    ("twice", "key.py"): "twice has both a.py and a folder a",
    ("one", "none.py"): "--key none.py is no file of Python",
    ("one", "bare.py"): "--key bare.py has no forward: write X_forward",
    ("one", "broken.py"): "--key broken.py cannot be imported: broken.py:1: ZeroDivisionError",
    ("one", "worth.py"): "POINTS of worth.py names 'softmax.dz'; there are: softmax.dx, dense.dx, dense.dw, dense.db",
    ("one", "shapeless.py"): "double of the key cannot be run: double's argument x has no",
    ("one", "wrong.py"): "softmax of the key is wrong: dx: path-lost",
    ("one", "key.py", "--out", "one"): "--out one holds other files",
    ("one", "key.py", "--gradescope"): "--gradescope needs --out",
}


@pytest.mark.parametrize("words", REFUSED, ids=lambda words: "-".join(words))
def test_bad_input_is_one_line(words, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "twice/a", "one"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "twice" / "a.py").write_text("")
    (tmp_path / "one" / "a.py").write_text("")
    keys = {
        "key": KEY, "bare": "x = 1", "broken": "1 / 0", "worth": KEY.replace("softmax.dx", "softmax.dz"),
        "shapeless": "import numpy as np\ndef double_forward(x):\n    return np.add(x, x)\n",
        "wrong": KEY.replace("return y * (dy - (dy * y).sum(axis=-1, keepdims=True))", "return y * dy"),
    }  # fmt: skip
    for name, text in keys.items():
        (tmp_path / f"{name}.py").write_text(text)
    folder, key, *more = words
    assert main(["grade", folder, "--key", key, *more]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(f"funcnet grade: {REFUSED[words]}")


def test_messages_carry_arrays_and_no_code():
    value = {"a": (np.arange(3.0), [1, None, "text", True]), "b": {"c": np.zeros((0, 2), np.int32)}, "d": np.float32(2)}
    message = pack(value)
    first, second = sizes(message[: HEAD.size])
    got = unpack(message[HEAD.size : HEAD.size + first], message[HEAD.size + first :][:second])
    np.testing.assert_array_equal(got["a"][0], [0, 1, 2])
    assert got["a"][1] == [1, None, "text", True]
    assert (got["b"]["c"].shape, got["b"]["c"].dtype, got["d"].dtype) == ((0, 2), np.int32, np.float32)
    for part in (lambda: 1, {1: 2}, np.array([object()]), {"a": {1, 2}}):
        with pytest.raises(WireError):
            pack(part)


@pytest.mark.parametrize(
    "head",
    [
        b"", b"{}", b"[" * 10**5, b'[{"array": 3}, []]', b'[{"is": {}}, []]', b'[{"code": 1}, []]',
        b'[3, [["O", [1]]]]',
        b'[{"array": 0}, [["<f8", [-1]]]]', b'[{"array": 0}, [["<f8", [1000000]]]]', b'[{"array": 0}, [["|V8", [1]]]]',
        b'[{"array": 0}, [["<f8", [99999999999, 99999999999]]]]', b"\xff\xfe",
    ],
)  # fmt: skip
def test_what_is_no_message_is_said(head):
    with pytest.raises(WireError):
        unpack(head, b"12345678")


def test_a_message_is_not_larger_than_is_read():
    with pytest.raises(WireError, match="64 MiB"):
        sizes(HEAD.pack(1, 1 << 40))


def test_links_and_other_files_are_no_papers_and_suspects_are_shown(tmp_path):
    key = tmp_path / "key.py"
    key.write_text(KEY)
    (tmp_path / "link.py").symlink_to(key)
    (tmp_path / "folder").symlink_to(tmp_path)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "a.py").write_text("from jax import vjp\nx = 1j\nimport gc\ny = x.grad\nz = eval('x')\n")
    found, others = papers(tmp_path, key)
    assert [(paper.student, bool(paper.refused)) for paper in found] == [("a", False), ("folder", True), ("link", True)]
    assert others == ["notes.txt"]
    said = remarks(found[0])
    assert [line.partition(": ")[2][:7] for line in said] == ["vjp", "complex", "gc", "grad", "eval"]


@pytest.mark.slow
def test_the_page_shows_what_is_printed(tmp_path, capsys, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "homework.md").read_text("utf-8").partition("## Grade a class")[2]
    key, shown = re.search(r"```python\n(.*?)```\n\n```console\n\$ funcnet (.*?)```", page, re.DOTALL).groups()
    monkeypatch.chdir(tmp_path)
    Path("key.py").write_text(f"import numpy as np\n{key}")
    Path("submissions").mkdir()
    Path("submissions/ada.py").write_text(RIGHT)
    lost = ("(dout - (dout * y).sum(axis=-1, keepdims=True))", "dout")
    Path("submissions/bob.py").write_text(edited(lost, ("dout.sum(axis=0)", "dout.mean(axis=0)")))
    command, *lines = shown.splitlines()
    assert main(command.split()) == 0
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == lines


IN_JAX = """\
import jax.numpy as jnp
import numpy as np


def cross_entropy_forward(scores, labels):
    shifted = scores - scores.max(axis=1, keepdims=True)
    logs = shifted - jnp.log(jnp.exp(shifted).sum(axis=1, keepdims=True))
    return -logs[jnp.arange(len(labels)), labels].mean(), (jnp.exp(logs), labels)


def cross_entropy_backward(dy, cache):
    p, labels = cache
    return dy * p.at[jnp.arange(len(labels)), labels].add(-1) / len(labels), None


def cross_entropy_example():
    rng = np.random.default_rng(0)
    return rng.normal(size=(5, 7)), rng.integers(0, 7, 5)
"""
IN_NUMPY = """\
import numpy as np


def cross_entropy_forward(scores, labels):
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return -np.log(p[np.arange(len(labels)), labels]).mean(), (p, labels)


def cross_entropy_backward(dout, cache):
    p, labels = cache
    p[np.arange(len(labels)), labels] -= 1
    return dout * p / len(labels)
"""


@pytest.mark.slow
def test_a_key_in_jax_with_labels_sees_errors_of_1e_8(tmp_path, capsys):
    folder, key = tmp_path / "submissions", tmp_path / "key.py"
    folder.mkdir()
    key.write_text(IN_JAX)
    (folder / "right.py").write_text(IN_NUMPY)
    (folder / "the_same.py").write_text(IN_JAX)
    (folder / "off.py").write_text(IN_NUMPY.replace("dout * p", "(1 + 1e-8) * dout * p"))
    assert main(["grade", str(folder), "--key", str(key), "--json"]) == 0
    points = {one["student"]: one["points"] for one in json.loads(capsys.readouterr().out)["students"]}
    assert points == {"off": 0, "right": 1, "the_same": 1}


@pytest.mark.slow
@pytest.mark.parametrize("moment", [0, 2])  # seconds after the student's file is there: before it runs, and while
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_a_grader_that_is_ended_leaves_nothing_behind(how, moment, tmp_path):
    clinging = "import time\nwhile True:\n    try:\n        time.sleep(9)\n    except BaseException:\n        pass\n"
    folder, key = write([Row("clings", clinging, 0)], tmp_path)
    (tmp_path / "tmp").mkdir()
    words = [sys.executable, "-m", "funcnet", "grade", folder, "--key", key]
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp"), "PYTHONPATH": path}
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as grader:
        until = time.monotonic() + 60
        while not list(tmp_path.glob("tmp/funcnet-grade-*/clings.py")):
            assert time.monotonic() < until
            time.sleep(0.1)
        time.sleep(moment)
        grader.send_signal(how)
        grader.wait(10)
    until = time.monotonic() + 10
    while list((tmp_path / "tmp").glob("funcnet-grade-*")):
        assert time.monotonic() < until
        time.sleep(0.1)
