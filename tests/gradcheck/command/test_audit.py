"""``funcnet audit``: what it prints, what it writes into a file, and the status that it ends with."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from funcnet import gradcheck, ops
from funcnet.__main__ import main
from funcnet.gradcheck.command.audit import BEGIN, END, markdown
from funcnet.gradcheck.command.discovery import find

RULES = """
import jax.numpy as jnp
from jaxtyping import Array, Float
from funcnet import Rule, dense

def product_fwd(x: Float[Array, "N I"], w: Float[Array, "I O"]):
    return x @ w, (x, w)

def product_bwd(residuals, dy):
    x, w = residuals
    return dy @ w.T, x.T @ dy

def bare_fwd(x):
    return jnp.sin(x), x

def bare_bwd(x, dy):
    return (dy * jnp.cos(x),)

def example():
    return {"x": jnp.ones((3, 5))}

net = dense(3)
"""
QUICK = ("--no-time", "--sizes", "N=4", "I=3", "O=5", "--")


@pytest.fixture
def rules(tmp_path, monkeypatch):
    (tmp_path / "rules.py").write_text(RULES, "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_rule_is_a_table(rules, capfd):
    assert main(["audit", *QUICK, "rules.py:product"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].startswith("product, float32, N=4 I=3 O=5; on ")
    assert [line.split()[:2] for line in lines if "float32  " in line] == [["float32", "360"]]
    assert not any(line.startswith("time") for line in lines)


def test_a_file_is_a_table_for_each_and_what_cannot_be_counted(rules, capfd):
    assert main(["audit", "--no-time", "rules.py"]) == 1
    out = capfd.readouterr().out
    assert [line.split(",")[0] for line in out.splitlines() if "; on " in line] == ["product"]
    assert "cannot be checked: bare: bare's argument x has no array annotation" in out
    assert "left out: net: a Layer needs --in-shape" in out
    assert main(["audit", "--no-time", "rules.py:net", "--in-shape", "7", "--sizes", "N=2"]) == 0
    assert "net, float32, N=2; on " in capfd.readouterr().out


def test_inputs_keep_their_dtype_unless_another_is_asked_for(rules, capfd):
    call = ["audit", "--no-time", "rules.py:bare", "--inputs", "rules.py:example"]
    assert main(call) == 0
    assert main([*call, "--dtype", "bfloat16"]) == 0
    assert main(["audit", "--no-time", "rules.py:bare", "--shapes", "N D"]) == 0
    heads = [line for line in capfd.readouterr().out.splitlines() if line.startswith("bare")]
    assert [head.partition(";")[0] for head in heads] == [
        "bare, float32, given arrays", "bare, bfloat16, given arrays", "bare, float32, N=256 D=320",
    ]  # fmt: skip


def test_json_holds_all_of_it(rules, capfd):
    assert main(["audit", "--json", *QUICK[1:], "rules.py:product"]) == 0
    document = json.loads(capfd.readouterr().out)
    (found,) = document["audits"]
    assert document["exit_status"] == 0
    assert found["columns"]["autodiff"]["product_flops"] == {"float32": 3 * 2 * 4 * 3 * 5}
    assert found["columns"]["by hand"]["seconds"][0] > 0
    assert found["suspicions"] == document["refused"] == document["unchecked"] == []


def test_the_table_in_a_file_is_written_anew_each_time(rules):
    page = rules / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", "utf-8")
    for _ in range(2):
        assert main(["audit", *QUICK[:-1], "--markdown", "page.md", "--", "rules.py:product"]) == 0
        text = page.read_text("utf-8")
        assert text.startswith(f"before\n{BEGIN}\n| ")
        assert text.endswith(f" |\n{END}\nafter\n")
        assert "| product | N=4 I=3 O=5 | 0.00036 | 0 | 0 | " in text
        assert "old" not in text


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (["nothing.py"], "nothing.py does not exist"),
        (["rules.py:product", "--sizes", "Q=3"], "sizes is for the axes N, I, O; got Q"),
        (["rules.py", "--markdown", "rules.py"], "--markdown rules.py: there is no line <!-- funcnet audit -->"),
        (["rules.py", "--markdown", "none.md"], "--markdown none.md: No such file or directory"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(rules, capfd, call, said):
    assert main(["audit", "--no-time", *call]) == 2
    said_there = [line for line in capfd.readouterr().err.splitlines() if line.startswith("funcnet audit: ")]
    assert len(said_there) == 1
    assert said in said_there[0]
    assert (rules / "rules.py").read_text("utf-8") == RULES


@pytest.mark.parametrize("flags", [["--sizes", "N"], ["--sizes", "N=0"], ["--sizes", "=3"], ["--dtype", "int8"]])
def test_bad_flags_are_refused(rules, capfd, flags):
    with pytest.raises(SystemExit) as caught:
        main(["audit", "rules.py", *flags])
    assert caught.value.code == 2
    assert f"funcnet audit: argument {flags[0]}: " in capfd.readouterr().err


def cells(table, name):
    (line,) = [line for line in table.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_figures_that_agree_stand_once():
    found = gradcheck.audit(ops.dense, sizes={"*B": 100, "I": 100, "O": 100}, time=False)
    assert cells(markdown([found]), "dense")[:5] == ["dense", r"\*B=100 I=100 O=100", "6", "20", "0"]


@pytest.mark.parametrize(
    ("runs", "shown"),
    [
        (((4, 3, 5), (2, 1, 2.5)), "2 / 1"),
        (((2, 1, 2.5), (2.4, 2.3, 3)), "1"),
        (((4, 3, 5), (4.1, 3, 5), (9, 8, 9)), "1 / 1 / 2.2"),
        ((None, None), ""),
        (((1, 1, 1),), ""),
    ],
)
def test_times_that_overlap_are_as_good_as_equal(runs, shown):
    found = gradcheck.audit(ops.relu, sizes={"*B": 3}, time=False)
    columns = {
        name: dataclasses.replace(found.columns["autodiff"], seconds=seconds)
        for name, seconds in zip(("by hand", "autodiff", "checkpoint"), runs, strict=False)
    }
    assert cells(markdown([dataclasses.replace(found, columns=columns)]), "relu")[6] == shown


def test_the_table_of_our_rules_holds_each_of_them_and_what_is_counted_now():
    """By hand: what autodiff makes depends on JAX's version, and what is compiled and timed on the machine."""
    page = (Path(__file__).parents[3] / "docs" / "measured.md").read_text("utf-8")
    table = page.partition(BEGIN)[2].partition(END)[0]
    rules = [found for found in find(ops) if not found.left_out]
    assert re.findall(r"^\| (\w+) \|", table, re.MULTILINE) == [found.name for found in rules]
    for name in ("dense", "softmax", "flash_attention"):
        (rule,) = [found.target for found in rules if found.name == name]
        now = markdown([gradcheck.audit(rule, name=name, time=False)])
        by_hand = [[cell.split(" / ")[0] for cell in cells(text, name)[:5]] for text in (now, table)]
        assert by_hand[0] == by_hand[1]
