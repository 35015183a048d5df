import matplotlib.pyplot as plt
import numpy as np

from experiments.examples.worked import Row
from experiments.pictures import agreement, style


def test_what_is_off_is_red_and_not_counted(tmp_path, monkeypatch):
    rows = [
        Row("000a", "right", 1.0, 1.0, 2, 0.0, 5e-3),
        Row("000b", "near", 1.0, 1.001, 2, 1e-3, 5e-3),
        Row("000c", "off", 1.0, 1.1, 2, 0.1, 5e-3),
        Row("000d", "no number", 1.0, np.nan, 2, np.inf, 5e-3),
    ]
    monkeypatch.setattr(plt, "close", lambda figure: None)
    agreement.draw(tmp_path / "picture.png", rows)
    figure = plt.gcf()
    monkeypatch.undo()
    points = [line for line in figure.axes[0].lines if line.get_marker() in "oD" and len(line.get_xdata()) == 1]
    plt.close(figure)
    assert figure.get_suptitle() == "2 of 4 worked examples agree with what was published"
    assert [float(line.get_xdata()[0]) for line in points] == [agreement.EXACT, 1e-3, 0.1, agreement.FAR]
    assert [line.get_color() for line in points] == [style.OURS, style.OURS, style.WRONG, style.WRONG]
