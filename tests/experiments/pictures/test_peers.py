import matplotlib.pyplot as plt

from experiments.pictures import peers


def test_bars_are_in_order_and_say_their_values(tmp_path, monkeypatch):
    monkeypatch.setattr(plt, "close", lambda figure: None)
    rows = {"one": {"numpy": 0.5, "funcnet, warm cache": 1.0, "torch": 0.25}, "none reached": {}}
    peers.draw(tmp_path / "picture.png", rows, "seconds")
    figure = plt.gcf()
    monkeypatch.undo()
    first, second = figure.axes
    plt.close(figure)
    assert [text.get_text() for text in first.get_yticklabels()] == ["torch", "numpy", "funcnet, warm cache"]
    assert [text.get_text() for text in first.texts] == ["0.25", "0.5", "1"]
    assert not second.patches
    assert second.get_xlabel() == "seconds"
