"""Damaged and hostile files in short form; all of it: ``python -m tests.fuzz_files``."""

import jax
import pytest

from tests.fuzz_files import OTHER, fuzzed


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_damaged_file_gives_what_was_saved_or_one_clear_error():
    with jax.enable_x64(False):
        outcomes, failures = fuzzed(300, seed=1)
    assert not failures
    assert sum(counts.total() for counts in outcomes.values()) == 300
    assert not any(counts[OTHER] for counts in outcomes.values())
