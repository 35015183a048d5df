"""Note 002: neurons, layers and batches by number; activations and losses. All but 002h and 002i are in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

import funcnet
from funcnet import ops, serial

from .worked import backward, example, forward, law

BATCH = [[1, 2, 3, 2.5], [2.0, 5.0, -1.0, 2.0], [-1.5, 2.7, 3.3, -0.8]]
# The notes write a weight as (neuron, input); funcnet as (input, neuron).
W1 = np.transpose([[0.2, 0.8, -0.5, 1.0], [0.5, -0.91, 0.26, -0.5], [-0.26, -0.27, 0.17, 0.87]]).tolist()
W2 = np.transpose([[0.1, -0.14, 0.5], [-0.5, 0.12, -0.33], [-0.44, 0.73, -0.13]]).tolist()
FOUR_TO_THREE = np.transpose([[0.9, 0.1, -0.1, -0.3], [0.5, -0.91, 0.3, 0.2], [-0.1, 0.26, -0.26, -0.29]]).tolist()

# ---------------------------------------------------------------- neurons and layers


@example("002a", "a neuron of three inputs", decimals=17)
def three_inputs(x=[1.2, 2.3, 3.1], w=[[3.1], [2.1], [8.7]], b=[3.0]):  # noqa: B006
    return [38.519999999999996], forward(ops.dense, x, w, b)


@example("002b", "a layer of three neurons on four inputs", decimals=17)
def four_inputs(x=[1.2, 2.3, 3.1, 4.2], w=FOUR_TO_THREE, b=[2, 3, 0.5]):  # noqa: B006
    return [1.74, 3.277, -1.046], forward(ops.dense, x, w, b)


@example("002b", "the note's first listing, which drops the fourth input", decimals=17)
def fourth_dropped(x=[1.2, 2.3, 3.1, 4.2], w=FOUR_TO_THREE, b=[2, 3, 0.5]):  # noqa: B006
    return [3.0, 2.4370000000000003, 0.17199999999999993], forward(ops.dense, x[:3], w[:3], b)


@law("002c", "shapes: (m,n)(n,p) → (m,p)")
def matmul_shapes(rng):
    m, n, p = (int(size) for size in rng.integers(1, 9, size=3))
    return (m, p), forward(ops.dense, np.ones((m, n)), np.ones((n, p)), np.ones(p)).shape


@example("002c", "shapes that do not fit are an error")
def mismatch(last_axis=2):
    try:
        forward(ops.dense, np.ones((5, last_axis)), np.ones((3, 4)), np.ones(4))
    except funcnet.ShapeError as error:
        return "ShapeError", type(error).__name__
    return "ShapeError", "no error"


@law("002c", "every gradient has the shape of its parameter")
def gradients_fit(rng):
    net = serial(funcnet.dense(5), funcnet.relu(), funcnet.dense(3))
    params: tuple = ({"w": rng.normal(size=(4, 5)), "b": rng.normal(size=5)}, {},
              {"w": rng.normal(size=(5, 3)), "b": rng.normal(size=3)})  # fmt: skip
    run = funcnet.value_and_grad(net, ops.mean_squared_error())
    _, gradient = run(params, rng.normal(size=(2, 4)), rng.normal(size=(2, 3)), None)
    return tuple(tuple(leaf.shape for leaf in jax.tree.leaves(tree)) for tree in (params, gradient))


@example("002d", "the dot product and a bias", decimals=8)
def dot(x=BATCH[0], w=[[row[0]] for row in W1], b=[2.0]):  # noqa: B006
    return [4.8], forward(ops.dense, x, w, b)


@example("002e", "a batch of three", decimals=8)
def batch(x=BATCH, w=W1, b=[2, 3, 0.5]):  # noqa: B006
    published = [[4.8, 1.21, 2.385], [8.9, -1.81, 0.2], [1.41, 1.051, 0.026]]
    return published, forward(ops.dense, x, w, b)


@example("002f", "two layers", decimals=8)
def two_layers(x=BATCH, w=W1, b=[2, 3, 0.5], v=W2, c=[-1, 2, -0.5]):  # noqa: B006
    published = [[0.5031, -1.04185, -2.03875], [0.2434, -2.7332, -5.7633], [-0.99314, 1.41254, -0.35655]]
    return published, forward(ops.dense, forward(ops.dense, x, w, b), v, c)


# ---------------------------------------------------------------- NumPy's generator of old, as in the note's listings


def stack(seed: int, x: list) -> list:
    """The outputs of three layers of ``Layer_Dense`` in turn: 4-5-2-1, weights .1·randn, no bias."""
    rng, outputs = np.random.RandomState(seed), [jnp.asarray(x)]
    weights = [0.10 * rng.randn(i, o) for i, o in ((4, 5), (5, 2), (2, 1))]
    for w in weights:
        outputs.append(forward(ops.dense, outputs[-1], w, np.zeros(w.shape[1])))
    return outputs[1:]


@example("002g", "Layer_Dense 4-5-2-1, seed 0: the first layer", decimals=8)
def first_of_three(seed=0, x=BATCH):
    published = [
        [0.10758131, 1.03983522, 0.24462411, 0.31821498, 0.18851053],
        [-0.08349796, 0.70846411, 0.00293357, 0.44701525, 0.36360538],
        [-0.50763245, 0.55688422, 0.07987797, -0.34889573, 0.04553042],
    ]
    return published, stack(seed, x)[0]


@example("002g", "the second layer", decimals=8)
def second_of_three(seed=0, x=BATCH):
    return [[0.148296, -0.08397602], [0.14100315, -0.01340469], [0.20124979, -0.07290616]], stack(seed, x)[1]


@example("002g", "the third layer", decimals=8)
def third_of_three(seed=0, x=BATCH):
    return [[-0.00087785], [0.00167789], [0.00036128]], stack(seed, x)[2]


def randn(rng: np.random.RandomState, *shape: int) -> np.ndarray:
    """As nnfs.init() leaves ``numpy.random.randn``: it draws in float64 and returns float32."""
    return rng.randn(*shape).astype(np.float32)


def legacy_spiral(rng: np.random.RandomState, points: int = 100, classes: int = 3) -> np.ndarray:
    """The spirals of nnfs, which ``funcnet.data.spiral`` draws with another generator."""
    r, arms = np.linspace(0.0, 1, points), []
    for c in range(classes):
        t = np.linspace(4 * c, 4 * (c + 1), points) + randn(rng, points) * 0.2
        arms.append(np.c_[r * np.sin(2.5 * t), r * np.cos(2.5 * t)])
    return np.concatenate(arms).astype(np.float32)


def dense32(x, w) -> jnp.ndarray:
    """As nnfs.init() leaves ``numpy.dot``: of float32 arrays, summed in float64, returned in float32."""
    y = forward(ops.dense, jnp.asarray(x, float), jnp.asarray(w, float), jnp.zeros(w.shape[1]))
    return y.astype(jnp.float32)


@example("002h", "the spirals, dense 2→3, seed 0, float32: five rows", decimals=8)
def spirals(seed=0):
    published = [
        [0.0, 0.0, 0.0],
        [-0.00104752, 0.00113954, -0.00047984],
        [-0.00274148, 0.00317292, -0.00086922],
        [-0.00421884, 0.00526663, -0.00055913],
        [-0.00577077, 0.00714014, -0.0008943],
    ]
    rng = np.random.RandomState(seed)
    x = legacy_spiral(rng)
    return published, dense32(x, np.float32(0.10) * randn(rng, 2, 3))[:5]


@example("002i", "2-3-3, ReLU, softmax, after the cell above: five rows", decimals=8)
def softmax_of_spirals(seed=0):
    """Where the note has .33333334 all over, ReLU lets nothing of these five points through: all logits are 0."""
    rng = np.random.RandomState(seed)
    legacy_spiral(rng), randn(rng, 2, 3)  # the cell above took these
    x, w, v = legacy_spiral(rng), np.float32(0.10) * randn(rng, 2, 3), np.float32(0.10) * randn(rng, 3, 3)
    logits = dense32(forward(ops.relu, dense32(x, w)), v)
    return np.full((5, 3), 0.33333334), forward(ops.softmax, logits)[:5]


# ---------------------------------------------------------------- activations and losses


@example("002j", "σ and tanh at .5, and their derivatives there", decimals=4)
def slopes(z=0.5):
    """The note's dsigmoid and dtanh give .25 and .8135 if called with z; see experiments.known_mistakes."""
    found = [(forward(rule, z), *backward(rule, z)) for rule in (ops.sigmoid, ops.tanh)]
    return [[0.6225, 0.2350], [0.4621, 0.7864]], found


@example("002j", "softmax of 1000, 1000, −1000: no overflow", decimals=8)
def stable_softmax(z=[1000, 1000, -1000]):  # noqa: B006
    return [0.5, 0.5, 0.0], forward(ops.softmax, z)


@example("002k", "the note's dog of .8: squared and absolute error", decimals=8)
def errors_of_a_dog(p=[0.8], t=[1.0]):  # noqa: B006
    return [0.04, 0.2], [forward(loss(), p, t) for loss in (ops.mean_squared_error, ops.mean_absolute_error)]


@example("002k", "binary, categorical, sparse cross-entropy of it: −log .8", decimals=8)
def cross_entropies_of_a_dog(p=0.8, label=1):
    both = [1 - p, p]
    one_hot = [float(k == label) for k in range(2)]
    losses = [
        forward(ops.binary_cross_entropy(), [p], [float(label)]),
        forward(ops.categorical_cross_entropy(), both, one_hot),
        forward(ops.sparse_categorical_cross_entropy(), both, jnp.array(label)),
    ]
    return [0.22314355] * 3, losses


@example("002l", "Huber (δ = 1) on errors of .2 and 3; KL from certainty to .8", decimals=8)
def huber_and_divergence(p=[0.8, 4.0], t=[1.0, 1.0]):  # noqa: B006
    """½·.2² and 3 − ½; of a one-hot target, which has no entropy, the divergence is the cross-entropy."""
    divergence = forward(ops.kl_divergence(), [1 - p[0], p[0]], [0.0, 1.0])
    return [0.02, 2.5, 0.22314355], [*forward(ops.huber(reduction="none"), p, t), divergence]


@example("002l", "contrastive (margin 6) on points 5 apart: alike, and unlike", decimals=8)
def contrastive_pair(u=[3.0, 0.0], v=[0.0, 4.0]):  # noqa: B006
    """½·5², and ½(6 − 5)²."""
    pair = jnp.array([u, u]), jnp.array([v, v])
    return [12.5, 0.5], forward(ops.contrastive(6.0, reduction="none"), pair, [1.0, 0.0])


@example("002l", "triplet (margin .2): squared distances 1 and 1, 1 and 2", decimals=8)
def two_triplets(anchor=[0.0, 0.0], positive=[1.0, 0.0]):  # noqa: B006
    triplets = jnp.array([anchor] * 2), jnp.array([positive] * 2), jnp.array([[0.0, 1.0], [1.0, 1.0]])
    return [0.2, 0.0], forward(ops.triplet(0.2, reduction="none"), triplets, None)
