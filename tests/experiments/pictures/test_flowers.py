import matplotlib.pyplot as plt
import numpy as np

from experiments.pictures import flowers


def test_a_ring_says_in_which_share_of_its_turns_a_flower_was_mistaken():
    held_out = [  # two flowers of one species, whose petals are (4, 1) and (5, 2); the second is held out three times
        flowers.HeldOut(np.array([[9, 9, 4, 1], [9, 9, 5, 2]]), np.array([1, 1]), np.array([False, True])),
        flowers.HeldOut(np.array([[9, 9, 5, 2], [9, 9, 5, 2]]), np.array([1, 1]), np.array([False, True])),
    ]
    figure = plt.figure()
    axes = figure.subplots()
    flowers._flowers(axes, held_out)
    rings = [(ring.get_offsets().tolist(), ring.get_sizes()) for ring in axes.collections if len(ring.get_offsets())]
    plt.close(figure)
    ((where, sizes),) = rings
    assert where == [[5, 2]]
    np.testing.assert_allclose(sizes, [300 * 2 / 3])
