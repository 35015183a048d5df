"""``funcnet check``: what it finds, what it says, and the status that it ends with."""

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from xml.etree import ElementTree

import pytest

from funcnet import gradcheck, ops
from funcnet.__main__ import main
from funcnet.gradcheck.command import cli
from funcnet.gradcheck.command.discovery import find, opened

HEAD = """
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from funcnet import Layer, Rule, dense, ops
from funcnet.ops import relu
"""

RIGHT = """
def twice_fwd(x: Float[Array, "N"]):
    return x + x, ()

def twice_bwd(_, dy):
    return (dy + dy,)
"""

WRONG = """
def thrice_fwd(x: Float[Array, "N"]):
    return 3 * x, ()

thrice = Rule(thrice_fwd, lambda _, dy: (2 * dy,))
"""

BARE = """
def bare_fwd(x):
    return x, ()

def bare_bwd(_, dy):
    return (dy,)
"""

IMPRECISE = """
def coarse_bwd(x, dy):
    return (dy * (1 if dy.dtype == jnp.float64 else 1.5),)

coarse = Rule(lambda x: (x, x), coarse_bwd)
coarse.fwd.__annotations__["x"] = Float[Array, "N"]
"""

EVERY_KIND = (
    HEAD
    + RIGHT
    + """
def whole_fwd(x: Float[Array, "N"]):
    return x, ()

def whole_bwd(_, dy):
    return (dy,)

whole = Rule(whole_fwd, whole_bwd)
again = whole

def made(power: float = 1.0) -> Rule:
    return Rule(lambda x: (x, ()), lambda _, dy: (dy,))

def quoted() -> "ops.Rule":
    return Rule(lambda x: (x, ()), lambda _, dy: (dy,))

def same() -> Rule:
    return whole

def needy(rate: float) -> Rule:
    return ops.dropout(rate)

def broken() -> Rule:
    raise ValueError("no such thing")

def unrelated(x) -> float:
    return x

@jax.jit
@jax.custom_vjp
def sine(x: Float[Array, "N"]):
    return jnp.sin(x)

def sine_fwd(x):
    return jnp.sin(x), x

def sine_bwd(x, dy):
    return (dy * jnp.cos(x),)

sine.__wrapped__.defvjp(sine_fwd, sine_bwd)
net = dense(3)
_private = ops.tanh
DTYPES = (jnp.float32, jnp.float16)
lonely_fwd = whole_fwd
"""
)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """``write(text)`` makes rules.py in the current directory, which is empty otherwise."""
    monkeypatch.chdir(tmp_path)

    def write(text, name="rules.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text), "utf-8")

    yield write
    for name, module in list(sys.modules.items()):  # what was imported from there
        if (getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


def run(*arguments):
    """The exit status, however it comes."""
    try:
        return main(["check", *arguments])
    except SystemExit as stop:
        return stop.code


# ---------------------------------------------------------------- what is found


def found(target, in_shape=None):
    with opened(target) as (module, _):
        return {item.name: item.left_out for item in find(module, in_shape)}


def test_every_kind_is_found_once_and_in_order(write):
    write(EVERY_KIND)
    everything = {
        "twice": "", "whole": "", "made": "", "quoted": "", "needy": "needs arguments",
        "broken": "broken() raised ValueError: no such thing", "sine": "", "net": "a Layer needs --in-shape",
        "_private": "",
    }  # fmt: skip
    assert list(found("rules.py").items()) == list(everything.items())
    assert found("rules.py", (7,)) == everything | {"net": ""}
    assert found("rules") == everything  # the same file as a module: the current directory is searched


def test_what_a_module_exports_is_what_is_checked(write):
    write(EVERY_KIND + '__all__ = ["relu", "_private", "no_such_name"]\n')
    assert found("rules.py") == {"relu": "", "_private": ""}
    rules = found("funcnet.ops")
    assert set(rules) == set(ops.__all__)
    assert {name: why for name, why in rules.items() if why} == {"weighted": "needs arguments"}


def test_a_file_in_a_package_and_the_package_itself(write):
    write(HEAD + RIGHT, "package/parts.py")
    write("from .parts import twice_fwd, twice_bwd", "package/__init__.py")
    write(
        "from funcnet import Rule\nfrom .parts import twice_fwd, twice_bwd\nmine = Rule(twice_fwd, twice_bwd)",
        "package/rules.py",
    )
    assert found("package/rules.py") == {"mine": ""}
    assert found("package") == found("package/__init__.py") == {"twice": ""}


def test_a_file_leaves_nothing_behind(write, tmp_path):
    write("import neighbour\nassert __name__ not in ('__main__', 'random')\n" + HEAD + RIGHT, "random.py")
    write("", "neighbour.py")
    before = list(sys.path), sys.modules["random"], sys.dont_write_bytecode
    assert found("random.py") == {"twice": ""}
    assert (sys.path, sys.modules["random"], sys.dont_write_bytecode) == before
    assert "checked_random" not in sys.modules
    assert not list(tmp_path.rglob("__pycache__"))


# ---------------------------------------------------------------- what is said


def test_all_correct_is_0(write, capsys):
    write(HEAD + RIGHT + BARE + "print('a word of its own')\n")
    assert run("rules.py", "--quick", "--allow-unchecked") == 0
    out, err = capsys.readouterr()
    assert re.search(r"twice +correct +0 ", out)
    assert re.search(r"bare +cannot be checked", out)
    assert "cannot be checked: bare: bare's argument x has no array annotation" in out
    assert out.endswith("\n1 correct, 1 not checked\n")
    assert "a word of its own" not in out
    assert "check 1/2  twice: correct" in err
    assert "\x1b" not in out + err


def test_a_wrong_rule_is_1_and_its_report_is_printed(write, capsys):
    write(HEAD + RIGHT + WRONG)
    assert run("rules.py", "--quick") == 1
    out = capsys.readouterr().out
    assert re.search(r"thrice +wrong +[\d.]+ +[a-z-]+", out)
    assert "\nthrice: WRONG\n  dx: " in out
    assert out.endswith("\n1 correct, 1 wrong\n")
    assert re.search(r"name +verdict +float64 +float32 +seconds", out)
    assert re.search(r"twice +correct +[\d./e-]+ +[\d./e-]+ +[\d.]+", out)  # units in the last place
    assert run("rules.py:twice", "--quick") == 0
    assert run("rules.py:thrice", "--quick") == 1


def test_the_dtypes_are_those_asked_for(write, capsys):
    write(HEAD + IMPRECISE)
    assert run("rules.py", "--dtypes", "float64") == 0
    assert run("rules.py", "--dtypes", "bfloat16, float64") == 1
    assert "1 imprecise" in capsys.readouterr().out


def test_json_is_the_reports_and_nothing_else(write, capsys):
    write(HEAD + RIGHT + WRONG + BARE + "print('a word of its own')\n")
    assert run("rules.py", "--json", "--quick", "--seed", "3") == 1
    document = json.loads(capsys.readouterr().out)
    with opened("rules.py") as (module, _):
        reports = [
            gradcheck.check((module.twice_fwd, module.twice_bwd), seed=3, name="twice", quick=True).to_dict(),
            gradcheck.check(module.thrice, seed=3, name="thrice", quick=True).to_dict(),
        ]
    assert (document["exit_status"], document["seed"], document["dtypes"]) == (1, 3, ["float64", "float32"])
    assert all(rule.pop("seconds") > 0 and rule.pop("target") == "rules.py" for rule in document["rules"])
    assert document["rules"] == json.loads(json.dumps(reports))
    (unchecked,) = document["unchecked"]
    assert unchecked["name"] == "bare"


def test_layers_need_a_shape(write, capsys):
    write(HEAD + "from funcnet import flatten\nnet = flatten()\n")
    assert run("rules.py", "--in-shape", "7", "--quick") == 0
    assert run("rules.py:net") == 2
    assert "net cannot be checked: a Layer needs --in-shape" in capsys.readouterr().err


MATMUL = """
def mm_fwd(x, w):
    return x @ w, (x, w)

def mm_bwd(residuals, dy):
    x, w = residuals
    return dy @ w.T, x.T @ dy

def given():
    return {"w": jnp.ones((3, 2)) / 3, "x": jnp.arange(6.0).reshape(2, 3), "unused": 0}

def in_order():
    return jnp.ones((2, 3)), jnp.ones((3, 2))
"""


@pytest.mark.parametrize(
    "how", [["--shapes", "N D", "D M"], ["--inputs", "rules.py:given"], ["--inputs", "rules.py:in_order"]]
)
def test_inputs_come_from_the_command_line(write, capsys, how):
    """Shapes are for what has no annotations: twice is drawn from its own."""
    write(HEAD + RIGHT + MATMUL if "--shapes" in how else HEAD + MATMUL)
    assert run("rules.py", "--quick", *how) == 0
    assert "correct\n" in capsys.readouterr().out


def test_several_files_and_a_folder(write, capsys):
    write(HEAD + RIGHT, "homework/one.py")
    write(HEAD + WRONG, "homework/deep.py")
    write("x = 1\n", "homework/helper.py")
    write("raise ValueError\n", "homework/.hidden.py")
    write(HEAD + RIGHT)
    assert run("homework", "rules.py", "homework/one.py", "--quick", "--json") == 1
    document = json.loads(capsys.readouterr().out)
    found = [(rule["target"], rule["name"], rule["verdict"]) for rule in document["rules"]]
    assert found == [
        ("homework/deep.py", "thrice", "wrong"),
        ("homework/one.py", "twice", "correct"),
        ("rules.py", "twice", "correct"),
    ]


def test_a_bad_target_does_not_hide_the_others(write, capsys):
    write(HEAD + RIGHT)
    assert run("nowhere.py", "rules.py", "--quick", "--junit", "junit.xml") == 2
    out, err = capsys.readouterr()
    assert out.endswith("\n1 correct\n")
    assert "funcnet check: nowhere.py does not exist" in err
    suites = ElementTree.parse("junit.xml").getroot()
    assert [(suite.get("tests"), suite.get("errors")) for suite in suites] == [("1", "0"), ("1", "1")]


def test_what_could_not_be_checked_fails_the_run(write, capsys):
    """A wrong pair without annotations beside a right one with them."""
    write(HEAD + RIGHT + BARE)
    assert run("rules.py", "--quick", "--junit", "junit.xml") == 1
    (suite,) = ElementTree.parse("junit.xml").getroot()
    assert (suite.get("tests"), suite.get("errors"), suite.get("failures")) == ("2", "1", "0")
    assert run("rules.py", "--quick", "--allow-unchecked") == 0
    write(HEAD + BARE)
    assert run("rules.py", "--quick", "--allow-unchecked") == 1  # nothing was


# ---------------------------------------------------------------- bad input

BAD = [
    ([], "the following arguments are required: TARGET"),
    (["nowhere.py"], "nowhere.py does not exist; expected FILE.py"),
    (["./nowhere"], "nowhere does not exist; expected FILE.py"),
    (["notes.txt"], "notes.txt is not Python"),
    (["./notes.txt"], "notes.txt is not Python"),
    (["nothing"], "nothing is a folder"),
    (["/"], "/ holds too much"),
    (["n" * 5000], "there is no module nnn"),
    (["n\0n"], "expected FILE.py"),
    (["no.such.module"], "there is no module no.such.module"),
    (["math"], "math has nothing of its own to check"),
    (["not a module"], "expected FILE.py, an importable module"),
    (["rules.py:"], "expected FILE.py, an importable module"),
    (["empty.py"], "empty.py has nothing of its own to check"),
    (["imports.py"], "imports.py has nothing of its own to check"),
    (["raises.py"], "raises.py:5: TypeError: unsupported operand"),
    (["folder/deep.py"], "folder/helper.py:2: TypeError: 'int' object is not callable"),
    (["raises"], "raises.py:5: TypeError: unsupported operand"),
    (["syntax.py"], "syntax.py:1: SyntaxError: "),
    (["missing.py"], "missing.py:1: ModuleNotFoundError: No module named 'nowhere'"),
    (["exits.py"], "exits.py:1: SystemExit: 3"),
    (["inside.py"], "inside.py:2: TypeError: "),
    (["rules.py:nope"], "there is no rule called nope; there are: twice, thrice, bare, drop"),
    (["rules.py:jnp"], "there is no rule called jnp; there are: twice"),
    (["rules.py:drop"], "drop cannot be checked: needs arguments"),
    (["rules.py:bare"], "bare cannot be checked: bare's argument x has no array annotation to draw from"),
    (["rules.py:twice", "--inputs", "rules.py"], "--inputs is FILE.py:NAME, a function that returns arguments"),
    (["rules.py:twice", "--inputs", "rules.py:nope"], "--inputs is FILE.py:NAME, a function that returns arguments"),
    (["rules.py:twice", "--inputs", "nowhere.py:f"], "nowhere.py does not exist; expected FILE.py"),
    (["rules.py:twice", "--inputs", "rules.py:drop"], "--inputs: drop() raised TypeError: "),
    (
        ["rules.py:twice", "--inputs", "rules.py:nothing"],
        "--inputs: nothing() returned NoneType; expected a dict by name",
    ),
    (["rules.py:twice", "--inputs", "rules.py:other"], "twice cannot be checked: twice takes (x); x is not given"),
    (["rules.py", "--junit", ""], "--junit : no file can be written there"),
    (["rules.py", "--junit", "no/such/place"], "--junit no/such/place: no file can be written there"),
    (["rules.py", "--timeout", "0"], "expected a number above 0; got '0'"),
    (["rules.py", "--memory", "nan"], "expected a number above 0; got 'nan'"),
    (["rules.py", "--dtypes", "float33"], "dtypes are of float64, float32, bfloat16, float16; got 'float33'"),
    (["rules.py", "--dtypes", ""], "dtypes are of float64, float32, bfloat16, float16; got ''"),
    (["rules.py", "--seed", "-1"], "expected a whole number of at least 0; got '-1'"),
    (["rules.py", "--seed", "x"], "expected a whole number of at least 0; got 'x'"),
    (["rules.py", "--in-shape", "3,0"], "expected a whole number of at least 1; got '0'"),
    (["rules.py", "--fast"], "unrecognized arguments: --fast"),
]


@pytest.fixture
def bad_files(write, tmp_path):
    own = "def drop(rate: float) -> Rule: ...\ndef nothing(): ...\ndef other(): return {'z': 1}\n"
    write(HEAD + RIGHT + WRONG + BARE + own)
    (tmp_path / "nothing").mkdir()
    write("", "empty.py")
    write("from funcnet.ops import relu\n", "imports.py")
    write("# one\n# two\n\n\nx = 1 + 'a'\n", "raises.py")
    write("def f(:\n", "syntax.py")
    write("import nowhere\n", "missing.py")
    write("raise SystemExit(3)\n", "exits.py")
    write("import jax.numpy as jnp\njnp.ones(3) @ jnp.ones(4)\n", "inside.py")
    write("import helper\n", "folder/deep.py")
    write("x = 1\nx()\n", "folder/helper.py")
    write("", "notes.txt")


@pytest.mark.parametrize(
    ("arguments", "message"), BAD, ids=lambda value: " ".join(value) if type(value) is list else ""
)
def test_bad_input_is_2_and_one_line(bad_files, capsys, arguments, message):
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = [line for line in err.splitlines() if not re.match(r"check \d+/\d+  ", line)]
    assert line.startswith("funcnet")
    assert message in line


# ---------------------------------------------------------------- as a command


def test_as_a_process_of_its_own(write, tmp_path, monkeypatch):
    write(HEAD + RIGHT)
    monkeypatch.setenv("PYTHONPATH", str(Path(cli.__file__).parents[3]))
    command = [sys.executable, "-m", "funcnet", "check", "rules.py", "--json", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert [rule["verdict"] for rule in json.loads(done.stdout)["rules"]] == ["correct"]
    assert done.stderr.startswith("check 1/1  twice: correct")
    assert [path.name for path in tmp_path.iterdir()] == ["rules.py"]


def test_some_of_our_own(capsys):
    for name in ("flatten", "leaky_relu"):
        assert run(f"funcnet.ops:{name}", "--quick") == 0
