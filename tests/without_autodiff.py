"""Run by ``test_training``: empties JAX's tables of derivatives, then trains and runs every backward there is.

Patching ``jax.grad`` and its kin would not do: whoever imported them earlier still has the originals.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad

import funcnet
from funcnet import ops, optimizers
from funcnet.types import Rule
from tests import conftest  # noqa: F401  (the same settings as in the tests)
from tests.cases import LAYERS, RULES, layer_args


def refuse(*args, **kwargs):
    raise AssertionError("something was transposed")


ad.primitive_jvps.clear()
ad.primitive_transposes.clear()
jax.linear_transpose = refuse


def traced(part, *args):
    """Forward and backward as a program, which nobody compiles: derivatives are taken while a program is traced."""

    def both(*args):
        y, residuals = part.fwd(*args)
        return part.bwd(residuals, jax.tree.map(jnp.ones_like, y))

    jax.eval_shape(both, *args)


try:
    traced(Rule(lambda x: (x, x), lambda x, dy: (jax.grad(lambda x: x * x)(x) * dy,)), 1.0)
except NotImplementedError:  # what JAX raises for a primitive that has no derivative
    print("a rule that calls jax.grad raises")
for case in RULES:
    traced(case.rule, *case.args((3,)))
for case in LAYERS:
    for training in (True, False):
        traced(case.layer, *layer_args(case, training))

net = funcnet.models.mlp((13,), 5, dropout_rate=0.2)
params, _ = net.init(jax.random.key(0), (7,))
x, labels = np.random.default_rng(0).normal(size=(40, 7)), np.arange(40) % 5
optimizer = optimizers.chain(optimizers.clip_by_global_norm(1.0), optimizers.adamw(0.02))
result = funcnet.fit(
    net, ops.sparse_softmax_cross_entropy(), optimizer, params, (x, labels), (x, labels),
    key=jax.random.key(1), epochs=20, batch_size=8, penalty=ops.l2(1e-4), progress=False,
)  # fmt: skip
assert result.history[-1]["validation_loss"] < 0.8 * result.history[0]["validation_loss"]
print("trained")
