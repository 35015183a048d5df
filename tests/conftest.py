"""The mathematics is tested in float64, with strict promotion; eight virtual devices stand in for a machine of many."""

import os

# The tests compile hundreds of small programs and run each once: code that is compiled fast beats code that runs fast.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")

import hypothesis
import jax
import pytest

# The same examples in every run; with --hypothesis-profile full three times as many, and others in each run.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.register_profile("full", deadline=None, max_examples=300)
hypothesis.settings.load_profile("suite")

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="module", autouse=True)
def compiled_code_is_dropped():
    """What one module compiled is of little use to the next, and all of it together takes some 15 GB."""
    yield
    jax.clear_caches()
