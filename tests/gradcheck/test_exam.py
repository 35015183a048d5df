"""A sample of the exam, spread over the table; the whole of it is run by hand: ``python -m tests.gradcheck.exam``."""

from tests.gradcheck.exam import examine, totals
from tests.gradcheck.planted import PLANTED


def test_every_mistake_is_caught_and_most_are_named():
    rows = [row for row in PLANTED if not row.name.startswith("rnn")][1::12]  # the loops take ten times as long
    marks = [(row, examine(row)) for row in rows]
    found = totals(marks)
    assert found["caught"] == (len(rows), len(rows))
    for right, asked in found.values():
        assert asked > 5
        assert right >= 0.8 * asked, [(row.name, mark.answer) for row, mark in marks if not mark.mistake]
