import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet
from funcnet import ops, optimizers
from funcnet.models import GPTConfig, check_tokens, generate, gpt
from funcnet.models.sampling import cached_logits, empty_cache
from funcnet.types import ShapeError
from tests.trees import assert_close, draw

SMALL = GPTConfig(vocabulary=11, context=9, width=8, depth=2, heads=4, key_heads=2)
TOKENS = np.random.default_rng(0).integers(11, size=(3, 8))


def shapes_of(config):
    return jax.eval_shape(lambda key: gpt(config).init(key, (2,))[0], jax.random.key(0))


def drawn(config):
    return jax.tree.map(jnp.asarray, draw(1, shapes_of(config)))


def test_the_smallest_of_gpt_2_has_its_number_of_parameters():
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes_of(GPTConfig()))) == 124_439_808


def test_it_starts_as_gpt_2_does():
    """All weights from N(0, 0.02²), but those that end a branch: 2 depth of them are added up."""
    config = SMALL._replace(width=32, depth=8)
    blocks = jax.jit(lambda key: gpt(config).init(key, (2,))[0]["blocks"])(jax.random.key(0))
    attention, feed_forward = blocks["attention"]["attention"], blocks["feed_forward"]["feed_forward"]
    weights = attention["qkv"], feed_forward["hidden"], attention["out"], feed_forward["out"]
    found = [float(layer["w"].std()) for layer in weights]
    assert found == pytest.approx([0.02, 0.02, 0.02 / 4, 0.02 / 4], rel=0.1)


def test_fused_with_its_loss_it_gives_the_same_loss_and_gradient():
    """Also that the tied table has both its gradients: in the plain form jax.vjp said so, see tests/layers."""
    params = drawn(SMALL)

    @jax.jit
    def both(params):
        plain = gpt(SMALL), ops.sparse_softmax_cross_entropy(0.1)
        fused = gpt(SMALL, fused=True), ops.linear_softmax_cross_entropy(0.1, chunk=7)
        return [funcnet.value_and_grad(*pair)(params, TOKENS, TOKENS, None) for pair in (plain, fused)]

    expected, got = both(params)
    assert_close(got, expected, 1e-10, 1e-12)


@pytest.fixture(scope="module")
def logits():
    return jax.jit(lambda params: gpt(SMALL).fwd(params, TOKENS)[0])(drawn(SMALL))


@pytest.mark.parametrize("config", [SMALL, SMALL._replace(rotary_base=100.0)], ids=["learned", "rotary"])
def test_cached_logits_are_those_of_the_full_forward(config):
    @jax.jit
    def both(params):
        first, cache = cached_logits(config, params, TOKENS[:, :5], empty_cache(config, 3, 9), 0)
        second, _ = cached_logits(config, params, TOKENS[:, 5:], cache, 5)
        return jnp.concatenate([first, second], axis=1), gpt(config).fwd(params, TOKENS)[0]

    np.testing.assert_allclose(*both(drawn(config)), rtol=1e-11, atol=1e-12)


def test_past_the_end_of_the_cache_there_are_no_logits():
    found, _ = cached_logits(SMALL, drawn(SMALL), TOKENS[:, :5], empty_cache(SMALL, 3, 9), 5)
    assert jnp.isnan(found).all()


def test_it_samples_what_the_model_thinks_likely(logits):
    """Every row the same prompt: the draws are of one distribution, that of its two likeliest."""
    prompt = np.repeat(TOKENS[:1, :3], 400, axis=0)
    tokens = np.asarray(generate(SMALL, drawn(SMALL), prompt, 2, jax.random.key(1), temperature=2.0, top_k=2))
    likeliest = np.argsort(logits[0, 2])[-2:]
    low, high = logits[0, 2][likeliest]
    assert tokens.shape == (400, 2)
    assert set(np.unique(tokens[:, 0])) == set(likeliest.tolist())
    assert np.mean(tokens[:, 0] == likeliest[1]) == pytest.approx(1 / (1 + np.exp((low - high) / 2)), abs=0.08)


def test_training_teaches_it_a_tune_from_any_note():
    """What comes next depends on the first token and on the position, so that a cache filled wrongly is heard."""
    config = GPTConfig(vocabulary=5, context=7, width=16, depth=1, heads=2)
    text = (np.array([0, 1, 1, 0, 3, 1, 2])[None, :] + np.arange(5)[:, None]) % 5
    params = jax.tree.map(lambda leaf: 0.3 * leaf, drawn(config))
    adam = optimizers.adam(0.02)
    step = funcnet.train_step(gpt(config, fused=True), ops.linear_softmax_cross_entropy(), adam)
    state = funcnet.init_state(params, adam, jax.random.key(1))
    state, _ = jax.jit(funcnet.train_epoch(step))(state, (text[:, :-1], text[:, 1:]), np.tile(np.arange(5), (150, 1)))
    assert np.array_equal(generate(config, state.params, text[:, :2], 5, jax.random.key(0), temperature=0), text[:, 2:])


def test_a_branch_keeps_the_shape():
    with pytest.raises(ShapeError, match=r"serial\[feed_forward\] > residual\(serial\) got output shape \(3, 5\)"):
        funcnet.transformer_block(funcnet.tanh(), funcnet.dense(5)).init(jax.random.key(0), (3, 4))


def test_its_summary_shows_the_whole_tree():
    lines = [line.split("│")[1].rstrip() for line in funcnet.summary(gpt(SMALL), (8,)).splitlines() if "│" in line]
    for line in (
        " gpt",
        "     blocks: repeat(2)",
        "         attention: residual",
        "             attention: multi_head_attention(4)",
        "               hidden: dense(32)",
    ):
        assert line in lines


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"heads": 3}, "heads that divide its width; got 2, 3 and 8"),
        ({"heads": 4, "key_heads": 3}, "key_heads that divide them; got 4 and 3"),
        ({"depth": 0}, "expects a depth"),
        ({"vocabulary": 0}, "at least one token"),
        ({"context": 0}, "at least one position"),
    ],
)
def test_sizes_that_cannot_be(changed, message):
    with pytest.raises(ValueError, match=message):
        gpt(SMALL._replace(**changed))


def test_a_prompt_in_bytes_may_be_followed_by_any_token():
    config = GPTConfig(vocabulary=300, context=4, width=4, depth=1, heads=1)
    params = jax.tree.map(jnp.zeros_like, drawn(config))
    params["norm"]["beta"] += 1.0
    params["tokens"]["table"] = params["tokens"]["table"].at[299].set(1.0)
    prompt = np.zeros((1, 1), np.uint8)
    assert generate(config, params, prompt, 3, jax.random.key(0), temperature=0).tolist() == [[299] * 3]


def test_no_tokens_or_more_than_the_context():
    for length in (0, 10):
        with pytest.raises(ShapeError, match=rf"T from 1 to the context of 9; got \('N', {length}\)"):
            gpt(SMALL).init(jax.random.key(0), (length,))
    with pytest.raises(ShapeError, match=r"expects tokens \(N, T\).* got \('N', 2, 3\)"):
        gpt(SMALL).fwd({}, np.zeros((1, 2, 3), int))
    with pytest.raises(ValueError, match=r"the context of 9; got \(3, 8\) and 2"):
        generate(SMALL, {}, TOKENS, 2, jax.random.key(0))


def test_a_batch_of_no_examples():
    def both(params):
        y, residuals = gpt(SMALL).fwd(params, jnp.zeros((0, 3), int))
        return y, gpt(SMALL).bwd(residuals, y)[0]

    y, dparams = jax.eval_shape(both, shapes_of(SMALL))
    assert y.shape == (0, 3, 11)
    assert jax.tree.map(jnp.shape, dparams) == jax.tree.map(jnp.shape, shapes_of(SMALL))


def test_what_cannot_be_sampled():
    for tokens, wrong in ((np.array([[3, 11]]), "11"), (np.array([[-1]]), "-1"), (np.array([[0.5]]), "0.5")):
        with pytest.raises(ValueError, match=f"tokens are integers from 0 to 10; got {wrong}"):
            generate(SMALL, {}, tokens, 1, jax.random.key(0))
    check_tokens(TOKENS, 11)
    for prompt in (np.zeros((1, 0), int), np.zeros(3, int)):
        with pytest.raises(ValueError, match="at least one token"):
            generate(SMALL, {}, prompt, 1, jax.random.key(0))
    for settings in ({"temperature": -1.0}, {"temperature": float("nan")}, {"top_k": 0}, {"top_k": 12}):
        with pytest.raises(ValueError, match="temperature >= 0 and top_k from 1 to 11"):
            generate(SMALL, {}, TOKENS, 1, jax.random.key(0), **settings)
