"""Seven ways to write one step: that they agree, that a form that does not is not compared, and what a run says."""

import json

import jax
import numpy as np
import pytest

from experiments import vectorisation
from experiments.vectorisation import Config, forms, time_all, work

SMALL = Config(quick=True, hidden=(7, 5), batch_size=3, ensemble=2, rounds=2)


@pytest.fixture(autouse=True)
def defaults():
    """What users have, where the other tests are strict."""
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.slow
def test_every_network_of_the_ensemble_is_trained_by_itself():
    with jax.enable_x64(True):
        given = work(0, 3, 2, np.float64)
        *_, scan, vmap = forms(SMALL, np.float64)
        together = vmap.run(vmap.params, *given)
        for i in range(SMALL.ensemble):
            alone = scan.run(jax.tree.map(lambda leaf, i=i: leaf[i], vmap.params), *given)
            for got, expected in zip(jax.tree.leaves(together), jax.tree.leaves(alone), strict=True):
                np.testing.assert_allclose(got[i], expected, rtol=1e-12, atol=1e-14)


def test_times_are_those_of_a_sample_of_one_network(monkeypatch):
    """At a clock that advances by 60 s a look."""
    looks = iter(range(0, 10**6, 60))
    monkeypatch.setattr(vectorisation.time, "perf_counter", lambda: next(looks))
    tried = [form._replace(run=lambda params, *given: params, steps=5) for form in forms(SMALL, np.float32)]
    seconds = time_all(SMALL, tried)
    assert seconds == {form.name: [60 / (5 * 3)] * 2 for form in tried[:-1]} | {"vmap of 2": [60 / (5 * 3 * 2)] * 2}


def test_a_form_that_does_other_work_is_not_compared(monkeypatch, tmp_path):
    right = vectorisation.neuron_gradients

    def wrong(neurons, x, label):
        """The gradient of one bias is forgotten."""
        *lower, last = right(neurons, x, label)
        return [*lower, [(dw, 0.0 if k == 0 else db) for k, (dw, db) in enumerate(last)]]

    monkeypatch.setattr(vectorisation, "neuron_gradients", wrong)
    monkeypatch.setattr(vectorisation, "forms", lambda *settings: forms(*settings)[:3])  # those that compile nothing
    with pytest.raises(SystemExit, match=r"do not do the same work.*'neuron by neuron': 0\.\d"):
        vectorisation.main(SMALL, tmp_path)


@pytest.mark.slow
def test_a_quick_run(tmp_path, capsys):
    vectorisation.main(SMALL, tmp_path)
    printed = capsys.readouterr().out
    assert max(map(len, printed.split("wrote")[0].splitlines()[1:])) <= 80
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert 0 < metrics["largest_difference"] < 1e-12  # they agree, and are not one and the same
    times = metrics["microseconds_a_sample"]
    assert list(times) == [form.name for form in forms(SMALL, np.float32)]
    assert times["neuron by neuron"] > times["scan"] > 0
    assert (tmp_path / "vectorisation.png").read_bytes().startswith(b"\x89PNG")
