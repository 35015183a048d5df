"""A sample of the exam, one row for each kind of explanation; ``python -m tests.gradcheck.exam`` takes all rows."""

import pytest

from tests.gradcheck import exam
from tests.gradcheck.planted import PLANTED

SAMPLE = {
    "cross_entropy_forgets_the_labels": "the form",
    "scale_for_matrices_alone": "the shape",
    "mlp_clips_the_delta": "a law of the cotangent",
    "row_mean_like_a_sum": "a factor of the whole",
    "layer_norm_variance_lost": "a path",
    "attention_row_sum_and_scale": "two paths",
    "mlp_bias_of_the_first_example": "a pattern that fits exactly",
    "relu_passes_everything": "a slip in a condition",
    "bilinear_operand_transposed": "a slip in a product",
    "mlp_slope_fed_the_output": "a slip in a slope",
    "label_loss_softmax_over_the_batch": "a slip in an axis",
    "leaky_run_forwards": "a slip in the order of a loop",
    "layer_norm_without_epsilon": "a pattern that fits loosely",
}


SLOW = ("two paths", "a pattern that fits loosely", "a path", "a slip in an axis", "a slip in the order of a loop")
ROWS = [pytest.param(name, id=kind, marks=pytest.mark.slow if kind in SLOW else ()) for name, kind in SAMPLE.items()]


@pytest.mark.parametrize("name", ROWS)
def test_the_mistake_is_caught_and_named_with_its_line(name):
    (row,) = (row for row in PLANTED if row.name == name)
    mark = exam.examine(row)
    assert (mark.caught, mark.mistake, mark.line) == (True, True, row.line and True), mark.answer


def test_a_total_that_is_lower_than_it_was_is_status_1(monkeypatch, capsys):
    monkeypatch.setattr(exam, "PLANTED", [row for row in PLANTED if row.name == "tanh_without_the_tuple"])
    assert exam.main(["tanh_without_the_tuple"]) == 0
    assert exam.main([]) == 1
    assert "caught: 1 of 1 (100%)" in capsys.readouterr().out
