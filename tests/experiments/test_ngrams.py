"""n-grams by hand, by a plain loop, and as probabilities."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from experiments import ngrams


def as_bytes(text):
    return np.frombuffer(text, np.uint8)


def test_a_bigram_model_by_hand():
    """Of abab: a and b were seen twice each, and ab twice; after a came one kind of byte."""
    model = ngrams.count(as_bytes(b"abab"), 2)
    unigram = (2 + 2 / 256) / (4 + 2)
    p = ngrams.probabilities(model, np.stack([as_bytes(b"ab"), as_bytes(b"aa"), as_bytes(b"cb")]))
    new = (2 / 256) / (4 + 2)  # c: what two kinds of bytes leave, times 1/256
    np.testing.assert_allclose(p[:, 0], [unigram, unigram, new], rtol=1e-14)
    expected = [(2 + unigram) / (2 + 1), unigram / (2 + 1), unigram]  # after c, never seen, the bytes as they are
    np.testing.assert_allclose(p[:, 1], expected, rtol=1e-14)
    assert ngrams.bits_per_byte(model, as_bytes(b"ab")) == pytest.approx(-math.log2(p[0, 0] * p[0, 1]) / 2)


@pytest.mark.parametrize("order", [1, 3, 5, 8])
@pytest.mark.parametrize("context", [b"that lorem", b"zzzzzzzzzz", b"t"])
def test_probabilities_sum_to_one(order, context):
    model = ngrams.count(as_bytes(b"this is that, and that is this; the lorem of the ipsum \xff\x00" * 3), order)
    texts = np.array([[*context, byte] for byte in range(256)], np.uint8)
    p = ngrams.probabilities(model, texts)[:, -1]
    assert p.min() > 0
    assert p.sum() == pytest.approx(1, rel=1e-12)


def test_the_same_by_dictionaries():
    rng = np.random.default_rng(0)
    train, held_out = (rng.choice(5, size=size, p=[0.5, 0.2, 0.1, 0.1, 0.1]).astype(np.uint8) for size in (400, 60))
    seen = defaultdict(Counter)
    for n in range(3):
        for i in range(n, len(train)):
            seen[train[i - n : i].tobytes()][train[i]] += 1

    def p(context, byte):
        lower = p(context[1:], byte) if context else 1 / 256
        after = seen[context]
        return (after[byte] + len(after) * lower) / (after.total() + len(after)) if after else lower

    bits = [-math.log2(p(held_out[max(0, i - 2) : i].tobytes(), byte)) for i, byte in enumerate(held_out)]
    assert ngrams.bits_per_byte(ngrams.count(train, 3), held_out) == pytest.approx(np.mean(bits), rel=1e-12)


def test_baselines_of_noise_and_of_a_loop():
    noise = np.random.default_rng(0).integers(256, size=20_000).astype(np.uint8)
    of_noise = ngrams.baselines(noise[:18_000], noise[18_000:])
    assert of_noise["uniform"] == 8
    assert all(bits >= 8 for bits in of_noise.values())  # nothing can be learned, and what seems so costs
    loop = as_bytes(b"0123456789" * 1000)
    of_loop = ngrams.baselines(loop[:9000], loop[9000:])
    assert of_loop["unigram"] == pytest.approx(math.log2(10), abs=0.01)
    assert of_loop["trigram"] < 0.02


@pytest.mark.parametrize(("length", "order"), [(0, 1), (3, 4), (20, 9), (20, 0)])
def test_an_order_that_cannot_be_counted(length, order):
    with pytest.raises(ValueError, match=f"a text of {length} bytes"):
        ngrams.count(np.zeros(length, np.uint8), order)
