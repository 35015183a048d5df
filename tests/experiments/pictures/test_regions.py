import matplotlib.pyplot as plt
import numpy as np

from experiments.pictures import regions


def image(probabilities):
    figure = plt.figure()
    axes = figure.subplots()
    regions._disc(axes, np.tile(probabilities, (len(regions.GRID), 1)))
    (shown,) = axes.images
    plt.close(figure)
    return np.asarray(shown.get_array())


def test_the_likeliest_class_has_its_colour_the_paler_the_less_certain():
    middle = regions.SIDE // 2
    sure, unsure = (image(p)[middle, middle] for p in ([1.0, 0.0, 0.0], [0.36, 0.32, 0.32]))
    white, colour = np.ones(3), np.array(regions.COLOURS[0])
    for shown in (sure, unsure):
        part = (white - shown) / (white - colour)  # the same share of the way to the colour in every channel
        np.testing.assert_allclose(part, part[0])
    assert 0 < np.abs(white - unsure).sum() < np.abs(white - sure).sum()


def test_nothing_is_said_outside_the_disc_and_rows_go_up():
    assert (image([1.0, 0.0])[0, 0] == 1).all()
    assert regions.GRID[0].tolist() == [-1, -1]
    assert regions.GRID[regions.SIDE - 1].tolist() == [1, -1]
