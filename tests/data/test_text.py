"""Text: its contents, its split, and the errors for unreadable input."""

import numpy as np
import pytest

from funcnet.data import text
from funcnet.data.idx import DataError


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Twenty files, and some that are excluded."""
    monkeypatch.setattr(text.sysconfig, "get_path", lambda name: str(tmp_path))
    sources = [f"def f{i}(): return {i}\n".encode() for i in range(20)]
    for i, source in enumerate(sources):
        folder = tmp_path / ("json" if i % 2 else "latest")
        folder.mkdir(exist_ok=True)
        (folder / f"{i}.py").write_bytes(source)
    for folder in ("json/tests", "test/support", "site-packages/jax", "idlelib", "lib2to3"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.py").write_text("left out")
    (tmp_path / "LICENSE.txt").write_text("left out")
    return sources


def test_the_standard_library_is_split_by_files(library):
    train, held_out = text.standard_library()
    assert sorted(train.tobytes().splitlines(True) + held_out.tobytes().splitlines(True)) == sorted(library)
    assert held_out.tobytes().count(b"\n") == 2
    assert np.array_equal(train, text.standard_library().train)
    assert not np.array_equal(train, text.standard_library(seed=1).train)


def test_without_a_file_names_come_from_the_standard_library(library):
    train, held_out = (part.tobytes().split() for part in text.names())
    assert {*train, *held_out} == {f"f{i}".encode() for i in range(20)}
    assert len(held_out) == 2


def test_a_tenth_of_the_running_standard_library_is_held_out():
    train, held_out = text.standard_library()
    assert len(train) + len(held_out) > 5e6
    assert 0.03 < len(held_out) / len(train) < 0.3  # files are of any size
    assert b"\nclass OrderedDict(dict):" in train.tobytes() + held_out.tobytes()


def test_the_last_tenth_of_a_file_is_held_out(tmp_path):
    (tmp_path / "a.txt").write_bytes(bytes(range(30)))
    train, held_out = text.text_file(tmp_path / "a.txt")
    assert train.tolist() == list(range(27))
    assert held_out.tolist() == [27, 28, 29]


def test_names_are_lines_each_in_one_part(tmp_path):
    (tmp_path / "names.txt").write_bytes(b"emma\r\nolivia\n\nava\nemma\n isabella\nsophia")
    train, held_out = text.names(tmp_path / "names.txt")
    assert len(held_out.tobytes().split()) == 1
    both = train.tobytes() + held_out.tobytes()
    assert sorted(both.split(b"\n")) == [b"", b"ava", b"emma", b"isabella", b"olivia", b"sophia"]


@pytest.mark.parametrize(
    ("read", "wanted"),
    [(text.text_file, "0 bytes; expected at least eleven"), (text.names, "0 distinct .*; expected at least two")],
)
def test_an_unreadable_file_is_named(read, wanted, tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.txt: No such file"):
        read(tmp_path / "nowhere.txt")
    with pytest.raises(DataError, match="Is a directory"):
        read(tmp_path)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(DataError, match=rf"empty\.txt: holds {wanted}"):
        read(tmp_path / "empty.txt")


def test_a_python_without_sources_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(text.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(DataError, match="no sources of the standard library; give a file of your own"):
        text.standard_library()


def test_what_would_move_the_cursor_is_a_dot():
    assert text.printable("a\tb\n\x1b[2J\x00é".encode()) == "a\tb\n·[2J·é"
