"""Every public rule and layer, with arguments to try it on. A test checks that none is missing.

Axis sizes are odd and distinct, so that a wrong axis is noticed.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import funcnet
from funcnet import ops
from funcnet.ops.normalization import Population
from funcnet.types import Layer, Rule
from tests.trees import draw

BATCHES = [(11,), (3, 5), (2, 3, 5)]  # with a last axis of 7: ranks 2 to 4


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


class RuleCase(NamedTuple):
    name: str
    rule: Rule
    args: Callable[[tuple[int, ...]], tuple]
    long: bool = False  # many operations: compared with jax.vjp in one compiled program


def x_only(batch):
    return (2 * normal(0, *batch, 7),)


def logits_and_labels(batch):
    return 3 * normal(0, *batch, 7), np.random.default_rng(1).integers(7, size=batch)


def linear_map_and_labels(batch):
    """The last chunk of 4 rows is not full."""
    return (normal(0, *batch, 5), normal(1, 7, 5), normal(2, 7)), np.random.default_rng(1).integers(7, size=batch)


def logits_and_soft_labels(batch):
    # weights that do not sum to one: a soft label may carry the weight of its example
    return 3 * normal(0, *batch, 7), np.abs(normal(1, *batch, 7))


def pair(batch):
    return normal(0, *batch, 7), normal(1, *batch, 7)


def probabilities_and_labels(batch):
    logits, labels = logits_and_labels(batch)
    return np.asarray(jax.nn.softmax(logits)), labels


def two_distributions(batch):
    return tuple(np.asarray(jax.nn.softmax(normal(seed, *batch, 7))) for seed in (0, 1))


def pairs_of_embeddings(batch):
    likeness = np.random.default_rng(2).uniform(size=batch)  # every shade between unlike (0) and like (1)
    return pair(batch), likeness


def triplets(batch):
    return (*pair(batch), normal(2, *batch, 7)), None


def with_weights(args):
    """The arguments of a loss, and a weight for each example."""

    def weighed(batch):
        predictions, targets = args(batch)
        return predictions, (targets, np.random.default_rng(3).uniform(0.2, 3, size=batch))

    return weighed


def normalised(batch):
    return 2 * normal(0, *batch, 7) + 3, normal(1, 7), normal(2, 7)


def table_and_tokens(batch):
    return normal(0, 7, 5), np.random.default_rng(1).integers(7, size=batch)


def queries_keys_values(batch):
    """Two query heads share a key head, the last block of 2 keys is not full, and one query sees no key."""
    mask = np.array([[True, False, True], [False, False, False], [True, True, False]])
    return normal(0, *batch, 2, 3, 4), normal(1, *batch, 1, 3, 4), normal(2, *batch, 1, 3, 2), mask


def sequences(*gates, states=1, inner_bias=False):
    """x, the initial states, the weights and the biases of a recurrent cell."""

    def args(batch):
        weights = normal(3, 3, *gates, 4), normal(4, 4, *gates, 4), normal(5, *gates, 4)
        initial = (normal(i, *batch, 4) for i in range(1, 1 + states))
        return normal(0, *batch, 5, 3), *initial, *weights, *([normal(6, 4)] * inner_bias)

    return args


def parameters(batch):
    return (({"w": normal(0, *batch, 7), "b": normal(1, 7)}, {"table": normal(2, 3, 5), "gamma": normal(3, 5)}, {}),)


def image(batch):
    return (normal(0, 2, 5, 4, 4),)  # only the sizes of windows matter


def image_and_kernel(*kernel, bias=True):
    """An image of 4 channels, and a kernel and a bias for it."""

    def args(batch):
        return (*image(batch), normal(1, *kernel), *((normal(2, kernel[-1]),) if bias else ()))

    return args


REDUCTIONS = ("mean", "sum", "none")

RULES = [
    RuleCase("dense", ops.dense, lambda batch: (normal(0, *batch, 7), normal(1, 7, 13), normal(2, 13))),
    RuleCase("flatten", ops.flatten, x_only),
    *(
        RuleCase(name, getattr(ops, name), x_only)
        for name in ("relu", "sigmoid", "tanh", "gelu", "silu", "softplus", "softmax", "log_softmax")
    ),
    *(RuleCase(name, getattr(ops, name), pair, long=True) for name in ("glu", "reglu", "geglu", "swiglu")),
    RuleCase("gated", ops.gated(ops.tanh), pair, long=True),
    RuleCase("gelu_tanh", ops.gelu_tanh, x_only, long=True),
    RuleCase("leaky_relu", ops.leaky_relu(0.03), x_only),
    RuleCase("elu", ops.elu(1.7), x_only),
    RuleCase("dropout", ops.dropout(0.3), lambda batch: (normal(0, *batch, 7), jax.random.key(5))),
    RuleCase("dropout", ops.dropout(0.3), lambda batch: (normal(0, *batch, 7), None)),
    RuleCase("batch_norm", ops.batch_norm(1e-3), normalised),
    RuleCase(
        "batch_norm_inference",
        ops.batch_norm_inference(1e-3),
        lambda batch: (*normalised(batch), Population(normal(3, 7), np.abs(normal(4, 7)))),
    ),
    RuleCase("layer_norm", ops.layer_norm(1e-3), normalised, long=True),
    RuleCase("rms_norm", ops.rms_norm(1e-3), lambda batch: normalised(batch)[:2], long=True),
    RuleCase(
        "group_norm", ops.group_norm(3, 1e-3), lambda b: (normal(0, *b, 9), normal(1, 9), normal(2, 9)), long=True
    ),
    RuleCase("embedding", ops.embedding, table_and_tokens, long=True),
    RuleCase("unembedding", ops.unembedding, lambda batch: (normal(0, *batch, 5), normal(1, 7, 5)), long=True),
    RuleCase("positions", ops.positions, lambda batch: (normal(0, *batch, 3, 7), normal(1, 5, 7)), long=True),
    RuleCase("rotary", ops.rotary(), lambda batch: (normal(0, *batch, 3, 7), np.array([2, 0, 9])), long=True),
    RuleCase("attention", ops.attention(causal=True), queries_keys_values, long=True),
    RuleCase("flash_attention", ops.flash_attention(causal=True, block=2), queries_keys_values, long=True),
    RuleCase("rnn", ops.rnn, sequences(), long=True),
    RuleCase("lstm", ops.lstm, sequences(4, states=2), long=True),
    RuleCase("gru", ops.gru, sequences(3, inner_bias=True), long=True),
    *(RuleCase("mean_squared_error", ops.mean_squared_error(r), pair) for r in REDUCTIONS),
    # one reduction each: tests/ops/losses compares all of them with jax.vjp
    RuleCase("mean_absolute_error", ops.mean_absolute_error(), pair),
    RuleCase("huber", ops.huber(0.7), pair),
    RuleCase("binary_cross_entropy", ops.binary_cross_entropy("none"), two_distributions),
    RuleCase("categorical_cross_entropy", ops.categorical_cross_entropy(), two_distributions),
    RuleCase("sparse_categorical_cross_entropy", ops.sparse_categorical_cross_entropy(), probabilities_and_labels),
    RuleCase("kl_divergence", ops.kl_divergence("sum"), two_distributions),
    RuleCase("squared_hinge", ops.squared_hinge(), pair),
    RuleCase("contrastive", ops.contrastive(4.0), pairs_of_embeddings),
    RuleCase("triplet", ops.triplet(2.0), triplets),
    RuleCase("weighted", ops.weighted(ops.mean_squared_error("none")), with_weights(pair)),
    RuleCase(
        "weighted", ops.weighted(ops.triplet(2.0, reduction="none"), "sum_over_batch_size"), with_weights(triplets)
    ),
    *(
        RuleCase("sparse_softmax_cross_entropy", ops.sparse_softmax_cross_entropy(e, reduction=r), logits_and_labels)
        for e in (0.0, 0.1)
        for r in REDUCTIONS
    ),
    *(
        RuleCase("softmax_cross_entropy", ops.softmax_cross_entropy(e, reduction=r), logits_and_soft_labels)
        for e in (0.0, 0.1)
        for r in REDUCTIONS
    ),
    RuleCase(
        "linear_softmax_cross_entropy", ops.linear_softmax_cross_entropy(0.1, 4), linear_map_and_labels, long=True
    ),
    *(
        RuleCase("sigmoid_binary_cross_entropy", ops.sigmoid_binary_cross_entropy(r), logits_and_soft_labels)
        for r in REDUCTIONS
    ),
    RuleCase("conv2d", ops.conv2d(), image_and_kernel(2, 3, 4, 3), long=True),
    RuleCase(
        "conv2d",
        ops.conv2d((2, 3), ((2, 0), (1, 3)), (1, 2), groups=2),
        image_and_kernel(2, 2, 2, 6, bias=False),
        long=True,
    ),
    RuleCase("conv2d_transpose", ops.conv2d_transpose(2), image_and_kernel(2, 3, 4, 3), long=True),
    RuleCase(
        "conv2d_transpose",
        ops.conv2d_transpose((1, 3), ((1, 0), (0, 2)), (2, 1), groups=2),
        image_and_kernel(1, 2, 2, 6, bias=False),
        long=True,
    ),
    RuleCase("max_pool", ops.max_pool(2, (2, 1), "SAME"), image, long=True),
    RuleCase("average_pool", ops.average_pool(2, (2, 1), "SAME"), image, long=True),
    RuleCase("global_average_pool", ops.global_average_pool, image, long=True),
    RuleCase("l1", ops.l1(0.3), parameters),
    RuleCase("l2", ops.l2(0.3), parameters),
]


class LayerCase(NamedTuple):
    name: str
    layer: Layer
    in_shape: tuple[int, ...]
    vocabulary: int | None = None  # for a layer that takes tokens
    long: bool = False  # as in RuleCase


GPT = funcnet.models.GPTConfig(vocabulary=7, context=5, width=8, depth=2, heads=2, dropout_rate=0.2)
LENET = funcnet.models.lenet(3, channels=(2,), hidden=(5,), kernel_size=2, padding="SAME", dropout_rate=0.2)
SHAPES = [(7,), (3, 7), (2, 3, 7)]

LAYERS = [
    LayerCase("dense", funcnet.dense(13), (7,)),
    LayerCase("dense", funcnet.dense(13), (3, 7)),
    *(
        LayerCase(name, factory(), shape, long=len(shape) > 1)  # the rule was checked at every rank
        for name, factory in {
            "elu": funcnet.elu,
            "gelu": funcnet.gelu,
            "leaky_relu": funcnet.leaky_relu,
            "log_softmax": funcnet.log_softmax,
            "relu": funcnet.relu,
            "sigmoid": funcnet.sigmoid,
            "silu": funcnet.silu,
            "softmax": funcnet.softmax,
            "softplus": funcnet.softplus,
            "tanh": funcnet.tanh,
            "flatten": funcnet.flatten,
            "dropout": lambda: funcnet.dropout(0.3),
        }.items()
        for shape in SHAPES
    ),
    *(LayerCase(name, getattr(funcnet, name)(), (3, 6), long=True) for name in ("glu", "reglu", "geglu", "swiglu")),
    LayerCase("gelu_tanh", funcnet.gelu_tanh(), (3,), long=True),
    LayerCase("batch_norm", funcnet.batch_norm(), (3, 7)),
    LayerCase("layer_norm", funcnet.layer_norm(), (3, 7), long=True),
    LayerCase("rms_norm", funcnet.rms_norm(), (3, 7), long=True),
    LayerCase("group_norm", funcnet.group_norm(3), (2, 5, 9), long=True),
    LayerCase("embedding", funcnet.embedding(7, 5), (3,), 7, long=True),
    LayerCase("positions", funcnet.positions(5), (3, 7), long=True),
    *(LayerCase(name, getattr(funcnet, name)(4), (2, 3), long=True) for name in ("rnn", "lstm", "gru")),
    LayerCase(
        "multi_head_attention",
        funcnet.multi_head_attention(4, key_heads=2, causal=True, rotary_base=100.0),
        (3, 8),
        long=True,
    ),
    LayerCase(
        "transformer_block",
        funcnet.transformer_block(funcnet.dense(4), funcnet.tanh()),
        (3, 4),
        long=True,
    ),
    LayerCase("gpt", funcnet.models.gpt(GPT), (4,), 7, long=True),
    LayerCase("conv2d", funcnet.conv2d(4, (2, 1), stride=2, groups=2), (3, 5, 4), long=True),
    LayerCase("conv2d", funcnet.conv2d(3, 2, padding="VALID", bias=False), (3, 5, 2), long=True),
    LayerCase("conv2d_transpose", funcnet.conv2d_transpose(4, (1, 2), stride=2, groups=2), (2, 3, 4), long=True),
    LayerCase("max_pool", funcnet.max_pool(), (3, 5, 2), long=True),
    LayerCase("average_pool", funcnet.average_pool(2, 1, "SAME"), (3, 5, 2), long=True),
    LayerCase("global_average_pool", funcnet.global_average_pool(), (3, 5, 2), long=True),
    LayerCase("lenet", LENET, (4, 4, 2), long=True),
    LayerCase("resnet", funcnet.models.resnet(3, stages=(2, 3), blocks=1), (2, 2, 1), long=True),
    LayerCase("serial", funcnet.serial(), (7,)),
    LayerCase("serial", funcnet.serial(funcnet.dense(5), funcnet.tanh(), funcnet.dense(3)), (3, 7)),
    LayerCase("computed_in", funcnet.computed_in(funcnet.serial(funcnet.dense(5), funcnet.tanh()), float), (3, 7)),
    LayerCase("residual", funcnet.residual(funcnet.serial(funcnet.dense(5), funcnet.tanh(), funcnet.dense(7))), (7,)),
    LayerCase("parallel", funcnet.parallel(funcnet.dense(5), funcnet.dense(5), funcnet.dense(5)), (3, 7)),
    LayerCase("repeat", funcnet.repeat(funcnet.serial(funcnet.dense(7), funcnet.dropout(0.3)), 3), (7,), long=True),
    LayerCase(
        "parallel", funcnet.parallel(funcnet.dense(5), funcnet.relu(), funcnet.dense(3), merge="concatenate"), (3, 7)
    ),
    LayerCase("mlp", funcnet.models.mlp((11, 5), 3, dropout_rate=0.2), (2, 7), long=True),
]


def layer_args(case: LayerCase, training: bool):
    """(params, x, key). Every leaf is random, so that no zero bias hides a mistake, and positive, for the variances."""
    shapes = jax.eval_shape(lambda key: case.layer.init(key, case.in_shape)[0], jax.random.key(0))
    params = jax.tree.map(lambda leaf: 0.4 * np.abs(leaf), draw(9, shapes))
    shape = (11, *case.in_shape)
    x = np.random.default_rng(1).integers(case.vocabulary, size=shape) if case.vocabulary else normal(1, *shape)
    return params, x, jax.random.key(2) if training else None


def case_id(case) -> str:
    return case.name if isinstance(case, RuleCase | LayerCase) else str(jnp.shape(case) if case is None else case)
