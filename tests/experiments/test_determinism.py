"""The same seed on the same machine and versions gives the same bits in two fresh processes."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRAINING = """
import hashlib, jax, numpy as np
import funcnet
from funcnet import ops, optimizers

key = jax.random.key(3)
rng = np.random.default_rng(3)
if {model!r} == "digits":
    digits = funcnet.data.digits(3)
    net, data, loss = funcnet.models.mlp((33,), 10, dropout_rate=0.2), digits[:2], ops.sparse_softmax_cross_entropy()
elif {model!r} == "cnn":
    net, loss = funcnet.models.lenet(10, channels=(3, 5), hidden=(9,)), ops.sparse_softmax_cross_entropy()
    data = rng.random((96, 28, 28, 1), np.float32), rng.integers(0, 10, 96).astype(np.int32)
else:
    config = funcnet.models.GPTConfig(vocabulary=17, context=12, width=16, depth=2, heads=2, dropout_rate=0.1)
    net, loss = funcnet.models.gpt(config), ops.sparse_softmax_cross_entropy()
    tokens = rng.integers(0, 17, (96, 13)).astype(np.int32)
    data = tokens[:, :-1], tokens[:, 1:]
params, _ = net.init(key, data[0].shape[1:])
trained = funcnet.fit(
    net, loss, optimizers.adam(1e-2), params, data, key=key, epochs=3, batch_size=16, progress=False
)
digest = hashlib.sha256()
for leaf in jax.tree.leaves((trained.params, trained.state._replace(key=jax.random.key_data(trained.state.key)))):
    digest.update(np.asarray(leaf).tobytes())
print(digest.hexdigest(), [row["train_loss"].hex() for row in trained.history])
"""


@pytest.mark.slow
@pytest.mark.parametrize("model", ["digits", "cnn", "gpt"])
def test_two_processes_end_with_the_same_bits(model):
    command = [sys.executable, "-c", TRAINING.format(model=model)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    runs = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(2)]
    (one, error), (other, _) = (run.communicate() for run in runs)
    assert one, error
    assert one == other
    assert len(one.split()[0]) == len(hashlib.sha256().hexdigest())
