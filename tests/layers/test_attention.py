import jax
import pytest

import funcnet
from funcnet.types import ShapeError
from tests.cases import normal


def test_multi_head_attention_says_what_it_wants():
    for heads, key_heads in ((0, None), (4, 3), (4, 0), (2, 4)):
        with pytest.raises(ValueError, match=f"key_heads that divide them; got {heads}"):
            funcnet.multi_head_attention(heads, key_heads=key_heads)
    layer = funcnet.multi_head_attention(4)
    for shape in ((7, 6), (8,)):
        with pytest.raises(ShapeError, match=r"attention\(4\) got input shape .* D a multiple of 4"):
            layer.init(jax.random.key(0), shape)
    params = jax.eval_shape(lambda key: layer.init(key, (3, 8))[0], jax.random.key(0))
    with pytest.raises(ShapeError, match=r"got x of shape \(2, 3, 4\), expects \(N, ..., T, 8\)"):
        layer.fwd(params, normal(0, 2, 3, 4))


def test_heads_split_and_merge_undo_each_other():
    x = normal(0, 2, 3, 8)
    heads = funcnet.layers.attention.split_heads(x, 4)
    assert heads.shape == (2, 4, 3, 2)
    assert (heads[1, 2, 0] == x[1, 0, 4:6]).all()
    assert (funcnet.layers.attention.merge_heads(heads) == x).all()
