import matplotlib.pyplot as plt
import numpy as np

from experiments.pictures import classification
from funcnet.data import Dataset

IMAGES, LABELS = np.zeros((4, 5, 3), np.float32), np.array([2, 0, 1, 1])
DATASET = Dataset(IMAGES, LABELS, IMAGES, LABELS)
PROBABILITIES = np.array([[0.3, 0.2, 0.5], [0.1, 0.6, 0.3], [0.9, 0.02, 0.08], [0.5, 0.2, 0.3]])


def test_the_worst_mistakes_come_first_with_the_probability_of_the_truth():
    figure = plt.figure()
    classification.draw_mistakes(figure, ["cat", "dog", "cow"], DATASET, PROBABILITIES)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    plt.close(figure)
    assert titles == ["dog → cat  0.02", "cat → dog  0.1", "dog → cat  0.2"]


def test_a_confusion_matrix_has_the_truth_in_rows():
    figure = plt.figure()
    classification.draw_confusion(figure, ["cat", "dog", "cow"], LABELS, PROBABILITIES.argmax(axis=1))
    (axes,) = figure.axes
    entries = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axes.texts}
    plt.close(figure)
    assert entries == {(0, 1): "1", (1, 0): "2", (2, 2): "1"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
