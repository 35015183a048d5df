"""The kill test in short form; the whole of it: ``python -m tests.training.kill``."""

import pytest

from tests.training.kill import killed


@pytest.mark.slow
def test_a_run_that_is_killed_and_resumed_ends_with_the_same_bits():
    ends, places = killed(2)
    assert sum(places.values()) == 2
    assert ends
    assert all(ends)
