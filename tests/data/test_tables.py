"""Tables: columns are learned from training rows, and other rows are encoded as those were."""

import numpy as np
import pytest

from funcnet.data import tables
from funcnet.data.idx import DataError
from funcnet.data.tables import Column, encode, learn_columns, read_csv


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.csv"


def table(path, text, separator=","):
    path.write_text(text)
    return read_csv(path, separator)


def test_numbers_categories_and_what_is_missing(path):
    frame = table(path, "size,kind,rare\n1,red,\n3,blue,7\n,red,\n8,NA,5\n")
    columns, said = learn_columns(frame)
    assert columns == [Column("size", (), 3.0, True), Column("kind", ("blue", "red")), Column("rare", (), 6.0, True)]
    assert said == [
        "size: 1 of 4 values missing; taken as the median, 3, and marked",
        "kind: 1 of 4 values missing; none of its categories",
        "rare: 2 of 4 values missing; taken as the median, 6, and marked",
    ]
    x, said = encode(columns, frame)
    assert not said
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, [[1, 0, 0, 1, 6, 1], [3, 0, 1, 0, 7, 0], [3, 1, 0, 1, 6, 1], [8, 0, 0, 0, 5, 0]])
    assert sum(column.features for column in columns) == x.shape[1]


def test_columns_that_teach_nothing_are_left_out_and_named(path):
    rows = "\n".join(f"name {i},1,same,,{i}" for i in range(60))
    columns, said = learn_columns(table(path, f"id,one,text,empty,good\n{rows}\n"))
    assert [column.name for column in columns] == ["good"]
    assert said == [
        "id: left out, as it holds 60 different texts; at most 50 are used",
        "one: left out, as all rows have one value",
        "text: left out, as all rows have one value",
        "empty: left out, as all rows have one value",
    ]


def test_rows_that_training_never_saw(path):
    columns = [Column("size", (), 3.0), Column("kind", ("1", "2"))]
    x, said = encode(columns, table(path, "more,kind,size\nx,1,\nx,9,inf\nx,,4\n"))
    np.testing.assert_array_equal(x, [[3, 1, 0], [3, 0, 0], [4, 0, 0]])
    assert said == [
        "size: 2 of 3 values missing; taken as 3",
        "kind: '9' in row 2 is new; taken as none of its categories",
    ]
    with pytest.raises(DataError, match="there is no column 'kind'; there are size"):
        encode(columns, table(path, "size\n1\n"))
    with pytest.raises(DataError, match="column 'size', row 2: 'tall' is no number"):
        encode(columns, table(path, "size,kind\n1,1\ntall,1\n"))
    x, said = encode(columns[:1], table(path, f"size\n{'9' * 30}\n1\n{'9' * 400}\n"))
    np.testing.assert_allclose(x, [[1e30], [1], [3]])


def test_spaces_a_mark_of_bytes_and_other_separators(path):
    path.write_bytes("\ufeffsize; kind \n1; red\n2;blue\n".encode())
    frame = read_csv(path, ";")
    assert list(frame.columns) == ["size", "kind"]
    assert list(frame.kind) == ["red", "blue"]


BAD = [
    (b"", "is no CSV file: No columns to parse from file"),
    (b"a,b\n", "has no rows below the line of names"),
    (b"a ,a\n1,2\n", "has two columns of one name"),
    (b"a,b\n1,2\n1,2,3\n", "is no CSV file: "),
    (b"\x89PNG\0\0", "is no CSV file: it holds zero bytes"),
    (b"a,b\n\xff,1\n", "is no CSV file: 'utf-8' codec"),
    (b'a,b\n"1,2\n', "is no CSV file: "),
]


@pytest.mark.parametrize(("content", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_a_file_that_is_none_is_one_line(content, message, path):
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_csv(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_a_file_too_large_is_not_read(path, monkeypatch):
    monkeypatch.setattr(tables, "LARGEST", 10)
    path.write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(DataError, match="holds 12 bytes; expected no more than 10"):
        read_csv(path)
    with pytest.raises(DataError, match=r"nowhere\.csv: No such file"):
        read_csv(path.with_name("nowhere.csv"))
