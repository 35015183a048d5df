from funcnet import ops
from tests.cases import normal


def test_flatten_saves_no_bytes():
    y, residuals = ops.flatten.fwd(normal(0, 3, 5, 7))
    assert y.shape == (3, 35)
    assert residuals.nbytes == 0
