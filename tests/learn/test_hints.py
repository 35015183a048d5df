"""The ladder of hints, from reports of the checker's."""

from funcnet.gradcheck import Element, Finding, Report
from funcnet.learn.hints import ladder
from funcnet.learn.index import exercise

LINE = "y = x @ w + b"


def report(*findings, worst, elements=(), verdict="wrong", conditions=(), notes=()):
    return Report("dense", verdict, findings, worst, ("N=5",), notes, elements, conditions=conditions)


def hints(report, folder, name="dense"):
    path = folder / f"{name}.py"
    path.write_text(f"# mine\n\n{exercise(name).template}", "utf-8")
    return ladder(exercise(name), report, path)


def test_each_hint_says_more_than_the_one_before(tmp_path):
    lost = Finding("x", "", "path-lost", file="dense.py", line=18, source=LINE, evidence=("the same explains dw",))
    elements = (Element("dx[1, 2]", -0.0, 2.5),)
    which, kind, where, formula, derivation = hints(
        report(lost, worst={"x": 1e9, "w": 3.0, "b": 0.1}, elements=elements), tmp_path
    )
    assert which == ["dx is wrong: dx[1, 2] is 0, and should be 2.5", "dw is wrong", "db is right"]
    assert kind == [
        "dx misses the gradient that flows through one line of the forward (path-lost); the same explains dw"
    ]
    text = (tmp_path / "dense.py").read_text("utf-8").splitlines()
    assert where == [
        f"dx: look at dense.py:{text.index(f'    {LINE}') + 1}: {LINE}",
        "differentiate this line too, and add its term",
    ]
    assert formula[1] == "   dx = dy wᵀ,   dw = xᵀ dy,   db = Σ_n dy_n"
    assert derivation[1].startswith("   x_nd takes part in y_nm")
    assert not any("dx = dy wᵀ,   dw" in line for line in derivation)


def test_of_a_wrong_shape_nothing_is_said_of_the_others(tmp_path):
    shape = Finding(
        "b", "", "missing-broadcast-sum", "has shape (5, 11), expected (11,): it is not summed over an axis"
    )
    which, kind, *_ = hints(report(shape, worst={}), tmp_path)
    assert which == ["db has shape (5, 11), expected (11,)"]
    assert kind == [
        "db has shape (5, 11), expected (11,): it is not summed over an axis (missing-broadcast-sum)",
    ]


def test_without_a_finding_there_are_the_formula_and_the_derivation(tmp_path):
    assert len(hints(None, tmp_path)) == 2
    condition = report(worst={"x": 0.1}, verdict="correct", conditions=("x is positive",))
    assert hints(condition, tmp_path)[0] == ["right only if x is positive, and that is not given here"]
    unsure = report(worst={}, verdict="inconclusive", notes=("time ran out",))
    assert hints(unsure, tmp_path)[0] == ["the checker cannot say: time ran out"]
