"""Sums over devices: a part of the table; ``python -m tests.gradcheck.collectives`` tries all of it."""

import jax
import jax.numpy as jnp
import pytest

from funcnet.gradcheck.diagnose.collectives import listed
from tests.gradcheck.collectives import PLANTED, RIGHT, columns, report_of, rows, softmax


@pytest.mark.slow
@pytest.mark.parametrize("forward", [columns, softmax], ids=lambda f: f.__name__)
def test_right_sums_are_correct(forward):
    report = report_of(forward)
    assert report, report
    assert report.notes[0] == (
        "forward: nothing is sent"
        if forward is columns
        else "forward: pmax over model of 16 bytes; psum over model of 16 bytes"
    )


SOME = [pytest.param(*row, marks=() if n == 0 else pytest.mark.slow) for n, row in enumerate(PLANTED[::4])]


@pytest.mark.parametrize(("forward", "point", "axes", "mistake", "axis"), SOME)
def test_a_wrong_sum_has_its_name_and_its_axis(forward, point, axes, mistake, axis):
    (finding,) = report_of(forward, {point: axes}).findings
    assert (finding.mistake, finding.axis) == (mistake, axis)


def test_collectives_are_listed_with_the_bytes_of_a_device():
    rule, args = rows(RIGHT[rows])
    closed = jax.make_jaxpr(lambda *args: rule.fwd(*args)[0])(*map(jnp.asarray, args))
    assert listed(closed) == ["psum over model of 128 bytes"]  # 2 of 4 rows, 8 columns, float64
