"""The exercises: every solution passes, and every typical wrong answer gets the right hints."""

import pytest

from funcnet.learn.index import GROUPS, WRITE, exercise, names
from funcnet.learn.judge import answer_of
from tests.learn.__main__ import LEAST
from tests.learn.wrong import ROWS, TABLES, answered, is_told, pair_of, said

# Of each group an answer that is soon explained, as the place of its row, for the quick suite.
QUICK = {
    "neuron": 0, "relu": 0, "huber": 4, "residual": 0, "rms_norm": 4, "average_pool": 4, "rnn_step": 3,
    "rotary": 4, "perceptron": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "neuron" else pytest.mark.slow) for name in names()]
)
def test_a_solution_is_right(name, tmp_path):
    task = exercise(name)
    answer = answer_of(task, pair_of(name, task.text, tmp_path))
    assert answer.is_right, answer


@pytest.mark.parametrize("name", names())
def test_the_file_for_a_learner_lacks_the_backward_and_no_more(name):
    task = exercise(name)
    start, _, _ = task.text.partition(f"def {name}_backward")
    assert task.template.startswith(start)
    assert task.formula
    assert task.formula not in task.template
    assert task.title.endswith(".")
    assert all(gradient in task.template for gradient in task.gradients)
    compile(task.template, name, "exec")
    assert task.template.count(WRITE) == 1


def test_every_exercise_has_typical_wrong_answers():
    assert TABLES.keys() == names().keys()
    assert all(len(rows) >= 4 for rows in TABLES.values())
    assert len(names()) >= 40


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in ("neuron", "relu", "rms_norm") else pytest.mark.slow) for name in QUICK],
)
def test_a_wrong_answer_of_each_group_gets_its_hint(name, tmp_path):
    row = [row for row in ROWS if row.exercise == name][QUICK[name]]
    answer = answered(row, tmp_path)
    assert is_told(row, answer), said(answer)


def test_each_group_has_a_quick_one():
    assert {names()[name] for name in QUICK} == GROUPS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("part", range(2))
def test_nearly_all_wrong_answers_get_the_right_hints(part, tmp_path):
    """Of every eighteenth; ``python -m tests.learn`` asks all of them, in ten minutes."""
    rows = ROWS[::18][part::2]
    found = {(row.exercise, row.old, row.new): is_told(row, answered(row, tmp_path)) for row in rows}
    assert sum(found.values()) >= LEAST * len(found) - 1, [row for row, told in found.items() if not told]
