"""Metadata beside the pictures: read with its types, stored, filtered by, and shown with the hits."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from composir.engine import Engine
from composir.errors import ComposirError, DataError
from composir.gallery.columns import Columns
from composir.gallery.metadata import find_metadata, read_metadata
from composir.gallery.search import Shelf
from composir.gallery.store import Gallery
from composir.indexing import create_gallery, index_folder

CSV = """file_name,price,brand,sale,added,count
a.jpg,19.5,"Smith, Sons",true,2024-05-01,3
./sub/b.jpg,,O'Hara,false,2024-06-01,
sub\\c.jpg,7,Ünï,,2023-01-01,4
"""


def test_a_csv_has_types(tmp_path):
    (tmp_path / "metadata.csv").write_text(CSV, encoding="utf-8")
    table = read_metadata(tmp_path / "metadata.csv").table
    assert Columns.of(table, []).types == {
        "price": "number", "brand": "text", "sale": "boolean", "added": "text", "count": "integer",
    }  # fmt: skip
    assert table["path"].to_pylist() == ["a.jpg", "sub/b.jpg", "sub/c.jpg"]
    assert table["brand"].to_pylist() == ["Smith, Sons", "O'Hara", "Ünï"]
    assert table["added"].to_pylist()[0] == "2024-05-01"
    assert table["price"].to_pylist() == [19.5, None, 7.0]


def test_jsonl_says_the_same(tmp_path):
    rows = [{"file_name": "a.jpg", "price": 19.5, "new": True}, {"file_name": "b.jpg", "price": 7, "size": "L"}]
    path = tmp_path / "metadata.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n", encoding="utf-8")
    table = read_metadata(path).table
    assert table.to_pylist() == [
        {"path": "a.jpg", "price": 19.5, "new": True, "size": None},
        {"path": "b.jpg", "price": 7.0, "new": None, "size": "L"},
    ]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("m.csv", "name,price\na,1\n", "no column 'file_name'"),
        ("m.csv", "file_name,price\na,1\nb,2,3\n", "Expected 2 columns, got 3"),
        ("m.csv", "file_name,price\na,1\n./a,2\n", "'a' is named by two rows"),
        ("m.csv", "file_name,x,x\na,1,2\n", "'x' stands twice"),
        ("m.csv", "file_name,a`b\na,1\n", "cannot be a column's"),
        ("m.csv", "file_name,__row\na,1\n", "'__row' cannot be a column's: it is reserved, by which it numbers rows"),
        (
            "m.csv",
            "file_name,path\na,1\n",
            "'path' cannot be a column's: it is reserved, by .* 'file_name' names; rename",
        ),
        ("m.csv", "name;price\na;1\n", "it has name;price; its fields must be separated by a comma, a semicolon"),
        ("m.csv", "file_name|price\na|1\n", "its fields must be separated by a comma, a semicolon or a tab"),
        ("m.csv", "file_name,price\n,1\n", "a row has no file_name"),
        ("m.csv", "", "Empty CSV"),
        ("m.jsonl", '{"file_name": "a"}\n{"file_name": "b"\n', "line 2"),
        ("m.jsonl", '{"file_name": "a", "tags": ["x"]}\n', "line 1: a flat JSON object"),
        ("m.jsonl", '{"file_name": "a", "n": 1}\n{"file_name": "b", "n": "1"}\n', "'n' holds int and str"),
        ("m.txt", "file_name\n", "a .csv or .jsonl file"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path, name, content, told):
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=told):
        read_metadata(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.csv", b"file_name,brand\na,\xff\xfe\n"),
        ("m.csv", "file_name;brand\na;Größe\n".encode("cp1252")),
        ("m.csv", "file_name,brand\na,b\n".encode("utf-16")),
        ("m.csv", "file_name,brand\na,b\n".encode("utf-16-be")),
        ("m.jsonl", '{"file_name": "a"}'.encode("utf-16")),
    ],
)
def test_another_encoding_than_utf_8_is_told(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="; save it as UTF-8"):
        read_metadata(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        ("file_name;price;brand\na;19,5;x, y\nb;7;z\n", {"price": [19.5, 7.0], "brand": ["x, y", "z"]}),
        ("file_name;price\na;19.5\nb;7\n", {"price": [19.5, 7.0]}),
        ("file_name;n\na;1\nb;2\n", {"n": [1, 2]}),
        ('\ufeff"price"\t"file_name"\r\n1.5\ta\r\n2\tb\r\n', {"price": [1.5, 2.0]}),
        ("file_name,a;b\na,1\nb,2\n", None),  # a comma after all, and a name that cannot be
        ("file_name\na\nb\n", {}),
    ],
)
def test_a_separator_is_seen_by_the_head(tmp_path, content, columns):
    (tmp_path / "m.csv").write_text(content, encoding="utf-8", newline="")
    if columns is None:
        with pytest.raises(DataError, match="'a;b' cannot be a column's"):
            read_metadata(tmp_path / "m.csv")
        return
    assert read_metadata(tmp_path / "m.csv").table.to_pydict() == {"path": ["a", "b"], **columns}


@pytest.mark.parametrize(
    ("values", "read"),
    [
        (["007", "12"], ["007", "12"]),
        (["-01", ""], ["-01", None]),
        (["12345678901234567890", "1"], ["12345678901234567890", "1"]),
        (["1.5", "00.25"], ["1.5", "00.25"]),
        (["0", "0.5"], [0.0, 0.5]),
        (["4006381333931", "10"], [4006381333931, 10]),
    ],
)
def test_codes_of_digits_stay_as_they_are_written(tmp_path, values, read):
    rows = "".join(f"{name},{value},3\n" for name, value in zip("ab", values, strict=True))
    (tmp_path / "m.csv").write_text(f"file_name,code,n\n{rows}", encoding="utf-8")
    table = read_metadata(tmp_path / "m.csv").table.to_pydict()
    assert table == {"path": ["a", "b"], "code": read, "n": [3, 3]}


def test_signs_that_end_lines_elsewhere_stand_in_jsonl(tmp_path):
    brands = ["a\u2028b", "a\u2029b", "a\x85b"]
    rows = [json.dumps({"file_name": f"{i}", "brand": brand}, ensure_ascii=False) for i, brand in enumerate(brands)]
    (tmp_path / "m.jsonl").write_bytes(("\ufeff" + "\r\n".join(rows)).encode())
    assert read_metadata(tmp_path / "m.jsonl").table["brand"].to_pylist() == brands
    (tmp_path / "m.jsonl").write_text("\n".join([*rows, "{"]), encoding="utf-8")
    with pytest.raises(DataError, match="line 4"):
        read_metadata(tmp_path / "m.jsonl")


def test_one_of_two_files_must_be_named(tmp_path):
    for name in ("metadata.csv", "metadata.jsonl"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="keep one"):
        find_metadata(tmp_path, None)
    assert find_metadata(tmp_path, tmp_path / "metadata.csv") == tmp_path / "metadata.csv"
    with pytest.raises(DataError, match="no such file"):
        find_metadata(tmp_path, tmp_path / "other.csv")


TABLE = pa.table(
    {
        "path": ["a", "b", "c"],
        "price": [1.5, None, 3.0],
        "Full name": ["x", "it's", "z"],
        "sold": [True, False, None],
    }
)


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("price < 2", [1]),
        ("price IS NULL", [0, 2]),  # of "d", too, nothing is known
        ("`Full name` = 'it''s'", [2]),
        ("`Full name` = 'a;b -- c'", []),
        ("sold OR price > 2", [1, 3]),
        ("NOT sold", [2]),
        (" ", None),
    ],
)
def test_filters_leave_the_rows_they_say(where, rows):
    found = Columns.of(TABLE, ["d", "a", "b", "c"]).rows(where)
    assert (None if found is None else found.tolist()) == rows


@given(st.lists(st.one_of(st.none(), st.integers(-5, 5)), min_size=1, max_size=30), st.integers(-5, 5))
def test_a_filter_is_a_loop_over_the_rows(values, limit):
    paths = [f"{i}" for i in range(len(values))]
    columns = Columns.of(pa.table({"path": paths, "n": pa.array(values, pa.int64())}), paths[::-1])
    expected = [i for i, value in enumerate(values[::-1]) if value is not None and value <= limit]
    assert columns.rows(f"n <= {limit}").tolist() == expected


@pytest.mark.parametrize("where", ["prize < 2", "price <", "price < 'a'", "price < 2; drop table x", "price < 2 -- no"])
def test_filters_that_mean_nothing_are_told_with_the_columns(where):
    with pytest.raises(ComposirError, match=r"columns: price \(number\)") as raised:
        Columns.of(TABLE, ["a"]).rows(where)
    assert "__row" not in str(raised.value)
    assert ".rs" not in str(raised.value)


def test_a_gallery_without_metadata_says_how_to_have_some():
    with pytest.raises(ComposirError, match=r"metadata\.csv"):
        Columns.of(TABLE.select(["path"]), ["a"]).rows("price < 2")


@pytest.fixture
def indexed(pictures, tmp_path, tiny_method):
    """A folder of pictures, and what indexes it and opens the gallery."""
    folder = pictures(6)
    gallery = create_gallery(tmp_path / "gallery", tiny_method, folder)

    def run(**options):
        report = index_folder(gallery, tiny_method, folder, workers=0, **options)
        return report, Shelf.load(Gallery.open(tmp_path / "gallery"))

    return folder, run


def test_metadata_follows_its_file(indexed, tmp_path):
    folder, run = indexed
    names = sorted(path.name for path in folder.iterdir())
    write = lambda prices: (folder / "metadata.csv").write_text(  # noqa: E731
        "file_name,price\n" + "".join(f"{n},{p}\n" for n, p in zip(names, prices, strict=False)) + "gone.jpg,9\n"
    )
    write([1, 2, 3, 4])
    report, shelf = run()
    assert (report.files, report.described, report.pointless) == (6, 4, ("gone.jpg",))
    assert {shelf.paths[row][0] for row in shelf.columns.rows("price >= 3")} == set(names[2:4])
    assert shelf.columns.of_row(shelf.paths.index((names[5],))) == {"price": None}
    version = shelf.version
    write([5, 5, 5, 5, 5, 5])
    report, shelf = run()
    assert (report.encoded, report.described, len(shelf.columns.rows("price = 5"))) == (0, 6, 6)
    assert shelf.version != version
    assert not report.metadata_kept
    (folder / "metadata.csv").unlink()
    report, shelf = run()
    assert (report.described, report.metadata_kept, shelf.columns.types) == (6, True, {"price": "integer"})
    assert len(shelf.columns.rows("price = 5")) == 6
    (tmp_path / "else.jsonl").write_text(json.dumps({"path": names[0], "brand": "x"}))
    report, shelf = run(metadata=tmp_path / "else.jsonl")
    assert (report.files, report.described, shelf.columns.types) == (6, 1, {"brand": "text"})


def test_a_copy_that_is_described_describes_its_picture(indexed):
    folder, run = indexed
    names = sorted(path.name for path in folder.iterdir())
    for name, copies in ((names[0], ("z.png", "y.png")), (names[1], ("x.png",))):
        for copy in copies:
            (folder / copy).write_bytes((folder / name).read_bytes())
    rows = [("z.png", 1), ("y.png", 2), (names[1], 3), ("x.png", 4), (names[2], 5)]
    (folder / "metadata.csv").write_text("file_name,price\n" + "".join(f"{name},{price}\n" for name, price in rows))
    shelf = run()[1]
    prices = {shelf.paths[row][0]: shelf.columns.of_row(row)["price"] for row in range(len(shelf))}
    assert prices == {names[0]: 2, names[1]: 3, names[2]: 5, names[3]: None, names[4]: None, names[5]: None}
    assert [shelf.paths[row] for row in shelf.columns.rows("price = 2")] == [(names[0], "y.png", "z.png")]


def test_metadata_is_dropped_by_order_alone(indexed, tmp_path):
    folder, run = indexed
    shop = tmp_path / "shop.csv"
    shop.write_text("file_name,price\n" + "".join(f"{path.name},3\n" for path in folder.iterdir()))
    assert run(metadata=shop)[0].described == 6
    report, shelf = run()
    assert (report.described, report.metadata_kept, shelf.columns.types) == (6, True, {"price": "integer"})
    with pytest.raises(DataError, match="leave out one of the two"):
        run(metadata=shop, drop_metadata=True)
    (folder / "metadata.csv").write_bytes(shop.read_bytes())
    report, shelf = run(drop_metadata=True)  # nor is what lies in the folder read, or taken for a picture
    assert (report.files, report.described, report.metadata_kept, shelf.columns.types) == (6, 0, False, {})
    (folder / "metadata.csv").unlink()
    report, shelf = run()
    assert (report.described, report.metadata_kept, shelf.columns.types) == (0, False, {})


def test_malformed_metadata_is_told_before_anything_is_encoded(indexed):
    folder, run = indexed
    (folder / "metadata.csv").write_text("name\n")
    with pytest.raises(DataError, match="file_name"):
        run()
    (folder / "metadata.csv").unlink()
    assert run()[0].encoded == 6


def test_a_filtered_search_ranks_the_rows_it_leaves(indexed):
    folder, run = indexed
    names = sorted(path.name for path in folder.iterdir())
    (folder / "metadata.csv").write_text("file_name,n\n" + "".join(f"{n},{i}\n" for i, n in enumerate(names)))
    shelf = run()[1]
    query = shelf.vectors([2]).float()
    everything = shelf.search(query, 6)
    left = {names[i] for i in (1, 4, 5)}
    filtered = shelf.search(query, 6, where="n IN (1, 4, 5)")
    assert [hit.id for hit in filtered] == [hit.id for hit in everything if hit.path in left]
    np.testing.assert_array_equal([hit.rank for hit in filtered], [1, 2, 3])


def test_search_filters_forwards_and_backwards(indexed, tmp_path, tiny_method):
    folder, run = indexed
    names = sorted(path.name for path in folder.iterdir())
    (folder / "metadata.csv").write_text("file_name,n\n" + "".join(f"{n},{i}\n" for i, n in enumerate(names)))
    run()
    engine = Engine(tiny_method, Gallery.open(tmp_path / "gallery"))
    for reverse in (False, True):
        everything = engine.search(folder / names[0], "red", 6, reverse=reverse)
        found = engine.search(folder / names[0], "red", 6, reverse=reverse, where="n IN (0, 2, 3)")
        # The given picture itself is left out.
        assert [hit.id for hit in found] == [hit.id for hit in everything if hit.path in (names[2], names[3])]
