import matplotlib.pyplot as plt
import numpy as np

from experiments.pictures import regression


def test_every_prediction_is_there_and_what_is_too_high_is_at_the_edge():
    figure = plt.figure()
    axes = figure.subplots()
    true = np.arange(16.0)
    predicted = np.where(true == 3, 1000.0, 2 * true)
    regression._panel(axes, np.stack([true, predicted]), -1, 31)
    _, inside, above, medians = axes.lines
    plt.close(figure)
    assert inside.get_ydata().tolist() == [2 * t for t in range(16) if t != 3]
    assert above.get_xdata().tolist() == [3]
    assert above.get_ydata()[0] < 31
    assert medians.get_xdata().tolist() == [2 * k + 0.5 for k in range(regression.BINS)]
    assert medians.get_ydata().tolist()[2:] == [4 * k + 1 for k in range(2, regression.BINS)]
