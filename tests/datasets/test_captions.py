"""Captions in their three forms: what is read, what stays where it is, and what is refused by file and line."""

from __future__ import annotations

import io
import json
import pickle
import random
import re
import tarfile
import tempfile
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from composir.datasets import load_dataset
from composir.datasets.captions import Captions
from composir.datasets.captions.members import members
from composir.datasets.captions.rows import Index, hash_of
from composir.errors import ComposirError, DataError, UnknownNameError
from composir.testing import check_dataset
from composir.types import Pair


def png(seed: int) -> bytes:
    colour = tuple(random.Random(seed).randbytes(3))
    buffer = io.BytesIO()
    Image.new("RGB", (5, 4), colour).save(buffer, "PNG")
    return buffer.getvalue()


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def shard(path: Path, members: dict[str, str | bytes], **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as file:
        for name, content in members.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def tsv(tmp_path) -> Path:
    """Twelve pictures, the first with two captions."""
    rows = [f"pictures/{i}.png\ta picture of {i}" for i in range(12)]
    for i in range(12):
        put(tmp_path / f"pictures/{i}.png", png(i))
    put(tmp_path / "captions.tsv", "\n".join([*rows, "pictures/0.png\tanother of 0"]) + "\n")
    return tmp_path


@pytest.fixture
def shards(tmp_path) -> Path:
    """Two shards: one with .txt and a class, one with .json; keys recur across shards."""
    first = {f"{i:03}.{e}": c for i in range(6) for e, c in (("png", png(i)), ("txt", f"text {i}\n"), ("cls", "1"))}
    second = {}
    for i in range(5):
        second |= {f"sub/{i:03}.JSON": json.dumps({"caption": f"json {i}"}), f"sub/{i:03}.PNG": png(10 + i)}
    shard(tmp_path / "a/0000.tar", first)
    shard(tmp_path / "a/0001.tar", {**second, "000.json": '{"caption": ["one", "two"]}', "000.png": png(99)})
    return tmp_path / "a"


@pytest.fixture
def folder(tmp_path) -> Path:
    for i in range(6):
        put(tmp_path / f"f/{i % 2}/{i}.png", png(i))
        put(tmp_path / f"f/{i % 2}/{i}.txt", f"\ufefffirst of {i}\r\n\r\n  second of {i} \n")
    return tmp_path / "f"


def refusal(call) -> str:
    """The message of the DataError that a call ends in; a type check that looks at the items may wrap it."""
    with pytest.raises(Exception) as caught:  # noqa: PT011
        call()
    error = caught.value
    while error is not None and not isinstance(error, DataError):
        error = error.__cause__ or error.__context__
    assert error is not None, f"no DataError, but {caught.value!r}"
    return str(error)


# ---- what is read ----


def test_tsv(tsv):
    data = load_dataset("captions", root=tsv)
    pairs = data.pairs("train")
    assert data.splits == ("train",)
    assert len(pairs) == 12
    assert pairs[0] == Pair("pictures/0.png", "pictures/0.png", ("a picture of 0", "another of 0"))
    assert [pair.captions for pair in pairs[1:3]] == [("a picture of 1",), ("a picture of 2",)]
    assert pairs[-1] == list(pairs)[11]
    assert data.image("pictures/3.png").getpixel((0, 0)) == tuple(random.Random(3).randbytes(3))
    assert data.missing(["pictures/3.png", "pictures/30.png", "../captions.tsv"]) == [
        "pictures/30.png",
        "../captions.tsv",
    ]
    with pytest.raises(IndexError):
        pairs[12]
    assert Captions(tsv / "captions.tsv").pairs("train")[3] == pairs[3]


@pytest.mark.parametrize(
    ("head", "columns"),
    [
        ("filepath\ttitle\n", "auto"),
        ("\ufeffImage\tCaption\r\n", "auto"),
        ("", "auto"),
        ("", "image,caption"),
    ],
)
def test_tsv_with_and_without_a_header(tmp_path, head, columns):
    put(tmp_path / "x.tsv", f"{head}a b.jpg\tblue\r\nc.jpg\tred dress \r\n")
    pairs = Captions(tmp_path, columns=columns).pairs("train")
    assert [(p.image, p.captions) for p in pairs] == [("a b.jpg", ("blue",)), ("c.jpg", ("red dress",))]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("blue\t7\ta.jpg\nred\t8\tc.jpg", "caption,number,image"),
        ("title\tid\tfilepath\nblue\t7\ta.jpg\nred\t8\tc.jpg\n", "auto"),
    ],
)
def test_tsv_in_another_order(tmp_path, text, columns):
    put(tmp_path / "cc3m.tsv", text)
    pairs = Captions(tmp_path, columns=columns).pairs("train")
    assert [(p.image, p.captions[0]) for p in pairs] == [("a.jpg", "blue"), ("c.jpg", "red")]


def test_several_tsv_files_are_one_set_in_order(tmp_path):
    put(tmp_path / "b.tsv", "image\tcaption\n2.jpg\ttwo\n1.jpg\tuno")
    put(tmp_path / "a.tsv", "1.jpg\tone\n")
    pairs = Captions(tmp_path).pairs("train")
    assert [(p.image, p.captions) for p in pairs] == [("1.jpg", ("one", "uno")), ("2.jpg", ("two",))]


def test_a_name_in_another_unicode_form_is_found(tmp_path):
    put(tmp_path / "e\u0301.png", png(1))
    put(tmp_path / "x.tsv", "\u00e9.png\taccent\n")
    assert Captions(tmp_path).image("\u00e9.png").size == (5, 4)


def test_tar(shards):
    data = Captions(shards)
    pairs = {pair.image: pair.captions for pair in data.pairs("train")}
    assert list(pairs)[:2] == ["0000/000", "0000/001"]
    assert len(pairs) == 12
    assert pairs["0000/004"] == ("text 4",)
    assert pairs["0001/sub/004"] == ("json 4",)
    assert pairs["0001/000"] == ("one", "two")
    assert data.image("0001/sub/002").getpixel((0, 0)) == tuple(random.Random(12).randbytes(3))
    assert data.missing(["0000/000", "0000/sub/000", "0001/000"]) == ["0000/sub/000"]
    assert not list(shards.glob("*[!r]"))  # nothing was unpacked


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_tar_forms_and_long_names(tmp_path, form):
    long = "d" * 90 + "/" + "n" * 60
    shard(
        tmp_path / "0.tar", {f"{long}.png": png(1), f"{long}.txt": "long", "é.png": png(2), "é.txt": "é"}, format=form
    )
    data = Captions(tmp_path / "0.tar")
    assert [(p.image, p.captions) for p in data.pairs("train")] == [(f"0/{long}", ("long",)), ("0/é", ("é",))]
    assert data.image("0/é").getpixel((0, 0)) == tuple(random.Random(2).randbytes(3))


def test_tar_by_pattern(shards):
    data = Captions(f"{shards}/*1.tar")
    assert {pair.image.split("/")[0] for pair in data.pairs("train")} == {"0001"}


def test_txt(folder):
    put(folder / "0/lonely.png", png(7))
    data = Captions(folder)
    assert data.format == "txt"
    assert [(p.image, p.captions) for p in data.pairs("train")][:2] == [
        ("0/0", ("first of 0", "second of 0")),
        ("0/2", ("first of 2", "second of 2")),
    ]
    assert data.missing(["0/0", "0/1", "0"]) == ["0/1", "0"]


@pytest.mark.parametrize("form", ["tsv", "shards", "folder"])
def test_contract(form, request):
    root = request.getfixturevalue(form)
    data = Captions(root)
    check_dataset(data, images=None)
    assert data.tasks("train") == [] == data.triplets("train")
    with pytest.raises(DataError, match="no split 'val'"):
        data.pairs("val")
    assert all(path.exists() for path in data.files_of("train"))


NAMES = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=30).map(
    lambda n: n.replace("/", "-")
)
ENTRIES = st.tuples(
    st.lists(NAMES, min_size=1, max_size=6).map("/".join), st.binary(max_size=1100), st.sampled_from("fffdl")
)


@given(st.lists(ENTRIES, min_size=1, max_size=6), st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
def test_members_are_those_that_tarfile_finds(entries, form):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.tar"
        with tarfile.open(path, "w", format=form) as file:
            for name, data, kind in entries:
                info = tarfile.TarInfo(name)
                info.type = {"f": tarfile.REGTYPE, "d": tarfile.DIRTYPE, "l": tarfile.SYMTYPE}[kind]
                info.linkname, info.size = "target", len(data) if kind == "f" else 0
                file.addfile(info, io.BytesIO(data))
        with tarfile.open(path) as file:
            expected = [(m.name, m.offset_data, m.size) for m in file if m.isreg()]
        assert [tuple(member) for member in members(path)] == expected


# ---- splits ----


def test_splits_by_hash_stay_when_rows_are_added(tmp_path):
    rows = [f"{i}.jpg\tcaption {i}" for i in range(3000)]
    put(tmp_path / "x.tsv", "\n".join(rows[:1000]))
    before = {s: {p.image for p in Captions(tmp_path, val=0.1, test=0.2).pairs(s)} for s in ("train", "val", "test")}
    random.Random(1).shuffle(rows)
    put(tmp_path / "x.tsv", "\n".join(rows))
    data = Captions(tmp_path, val=0.1, test=0.2)
    assert data.splits == ("train", "val", "test")
    for split, images in before.items():
        now = {p.image for p in data.pairs(split)}
        assert images <= now
        share = {"train": 0.7, "val": 0.1, "test": 0.2}[split]
        assert abs(len(now) / 3000 - share) < 0.03
        assert abs(len(images) / 1000 - share) < 0.05
    assert sum(len(data.pairs(s)) for s in data.splits) == 3000


@given(st.lists(st.text(max_size=3), min_size=1, max_size=30), st.floats(0, 0.5), st.floats(0, 0.5))
def test_index_equals_a_slow_grouping(ids, val, test):
    import numpy as np

    index = Index(np.array([hash_of(i) for i in ids], dtype=np.uint64), val, test)
    seen = Counter()
    for split in ("train", "val", "test"):
        rows = index.pictures(split)
        groups = [rows[i] for i in range(len(rows))]
        assert [group[0] for group in groups] == sorted(group[0] for group in groups)
        for group in groups:
            assert group == [i for i, name in enumerate(ids) if name == ids[group[0]]]
            place = (hash_of(ids[group[0]]) >> 11) / 2**53
            assert split == ("test" if place < test else "val" if place < test + val else "train")
            seen[ids[group[0]]] += 1
    assert seen == Counter(set(ids))
    assert all(index.find(name) == ids.index(name) for name in ids)
    assert index.find("not one of them") is None


def test_a_split_without_a_picture_is_refused(tmp_path):
    put(tmp_path / "x.tsv", "a.jpg\ta\n")
    with pytest.raises(DataError, match=r"val=1e-09 .* no picture falls to val"):
        Captions(tmp_path, val=1e-9).pairs("val")


# ---- what is held ----


def test_few_bytes_are_held_for_a_row(tmp_path):
    count = 10_000
    put(tmp_path / "x.tsv", "".join(f"some/folder/{i:09}.jpg\t{'a long caption ' * 8}\n" for i in range(count)))
    data = Captions(tmp_path)
    tracemalloc.start()
    try:
        pairs = data.pairs("train")
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(pairs) == count
    assert held / count < 60
    assert peak / count < 120


def test_a_copy_is_small_but_for_shards_that_workers_need(tsv, shards):
    data = Captions(tsv / "captions.tsv")
    assert len(data.pairs("train")) == 12
    assert "_index" not in pickle.loads(pickle.dumps(data)).__dict__
    in_shards = Captions(shards)
    assert len(in_shards.pairs("train")) == 12
    copy = pickle.loads(pickle.dumps(in_shards))
    for path in shards.glob("*.tar"):
        path.rename(path.with_suffix(".away"))
    with pytest.raises(DataError, match=r"0000\.tar: cannot be read"):  # and not: scanned anew
        copy.image("0000/000")


# ---- what is refused ----


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg\tfine\nb.jpg\n", r"x\.tsv: line 2: holds 1 columns, not 2"),
        ("image\tcaption\na.jpg\tfine\n\nb.jpg\tx", r"line 3: holds 1 columns"),
        ("a.jpg\tfine\nb.jpg\ttoo\tmany\n", "line 2: holds 3 columns"),
        ("a.jpg\tfine\nb.jpg\t  \n", "line 2: the caption is empty"),
        ("a.jpg\tfine\n\tb\n", "line 2: the image is empty"),
        ("a.jpg\tfine\n/etc/x.jpg\tb\n", "line 2: image '/etc/x.jpg' lies elsewhere"),
        ("a.jpg\tfine\nc/../../x.jpg\tb\n", "line 2: image .* lies elsewhere"),
        (b"a.jpg\tfine\nb.jpg\t\xff\xfe\n", "line 2: byte 6 is not UTF-8"),
        ("a.jpg\tfine\nb.jpg\t" + "x" * (1 << 20), "line 2: is longer than"),
        ("", "holds no row"),
        ("image\tcaption\n", "holds no row"),
    ],
)
def test_broken_rows_are_named(tmp_path, text, message):
    put(tmp_path / "x.tsv", text)
    with pytest.raises(DataError, match=message):
        Captions(tmp_path).pairs("train")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"a.png": b"x"}, r"0\.tar: key 'a' lacks its caption, it has png"),
        ({"a.txt": "x"}, "key 'a' has 0 pictures, it has txt"),
        ({"a.png": b"x", "a.jpg": b"x", "a.txt": "x"}, "key 'a' has 2 pictures"),
        ({"a.cls": "1"}, "holds no picture"),
        ({"a.png": b"x", "a.txt": "x", "b.png": b"x", "b.txt": "x", "./a.png": b"", "./a.txt": "x"}, None),
        ({"a.png": b"x", "a.txt": "x", "b.png": b"x", "b.txt": "x", "A.txt": "x", "A.png": b"x"}, None),
    ],
)
def test_incomplete_samples_are_named(tmp_path, members, message):
    shard(tmp_path / "0.tar", members)
    if message is None:
        assert len(Captions(tmp_path).pairs("train")) == 3
        return
    with pytest.raises(DataError, match=message):
        Captions(tmp_path).pairs("train")


def test_a_key_that_occurs_twice_is_named(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as file:
        for name in ("a.png", "a.txt", "b.png", "b.txt", "a.png", "a.txt"):
            file.addfile(tarfile.TarInfo(name))
    with pytest.raises(DataError, match=r"0\.tar: key 'a' occurs twice"):
        Captions(tmp_path).pairs("train")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", r"0\.tar: a\.json: line 1, column 2: is not JSON"),
        ("a.json", '{"caption": "x", "caption": "y"}', r'a\.json: the key the text "caption" stands twice'),
        ("a.json", b"\xff", r"a\.json: byte 0 is not UTF-8"),
        ("a.json", "[1]", r"a\.json: 'caption' holds no text"),
        ("a.json", '{"caption": null}', r"a\.json: 'caption' holds no text"),
        ("a.json", '{"caption": ["x", 3]}', "or not only texts"),
        ("a.txt", " \n ", r"a\.txt: holds no caption"),
        ("a.txt", b"\xff", r"a\.txt: byte 0 is not UTF-8"),
    ],
)
def test_broken_captions_of_a_shard_are_named(tmp_path, name, text, message):
    shard(tmp_path / "0.tar", {"a.png": png(1), name: text})
    assert re.search(message, refusal(lambda: list(Captions(tmp_path).pairs("train"))))


def test_broken_shards_and_pictures_are_named(tmp_path, shards):
    put(tmp_path / "zip/0.tar", b"PK" + bytes(2000))
    with pytest.raises(DataError, match=r"0\.tar: is no whole, uncompressed tar"):
        Captions(tmp_path / "zip").pairs("train")
    whole = (shards / "0000.tar").read_bytes()
    put(tmp_path / "cut/0.tar", whole[: 512 + 70])
    with pytest.raises(DataError, match=r"0\.tar: is no whole, uncompressed tar file \(it ends within 000\.png"):
        Captions(tmp_path / "cut").pairs("train")
    for length in (0, 5000, 6 * 1024):
        put(tmp_path / "cut/0.tar", whole[:length])
        with pytest.raises(DataError, match="it lacks the end of an archive"):
            Captions(tmp_path / "cut").pairs("train")
    damaged = bytearray(whole)
    damaged[125] ^= 1  # in the size of the first member
    put(tmp_path / "cut/0.tar", bytes(damaged))
    with pytest.raises(DataError, match=r"0\.tar: is no whole, uncompressed tar file \(.*checksum"):
        Captions(tmp_path / "cut").pairs("train")
    shard(tmp_path / "bad/0.tar", {"a.png": b"no picture", "a.txt": "x"})
    with pytest.raises(DataError, match=r"picture '0/a' cannot be read: .*0\.tar: a: the content is that of no known"):
        Captions(tmp_path / "bad").image("0/a")


def test_broken_text_files_are_named(folder):
    put(folder / "0/0.txt", "\n \n")
    assert "0.txt: holds no caption" in refusal(lambda: list(Captions(folder).pairs("train")))


def test_what_cannot_be_opened(tmp_path, tsv, shards):
    with pytest.raises(DataError, match="there is no such file or folder"):
        Captions(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds tsv and tar files; say which by format='tsv'"):
        Captions(tmp_path)
    assert len(Captions(tmp_path, format="tar").pairs("train")) == 12
    with pytest.raises(DataError, match="nothing of that kind"):
        Captions(shards, format="tsv")
    with pytest.raises(UnknownNameError, match="did you mean 'tsv'"):
        Captions(tmp_path, format="tvs")
    with pytest.raises(ComposirError, match="no shares"):
        Captions(tmp_path, format="tsv", val=0.8, test=0.3)
    with pytest.raises(ComposirError, match="do not tell image from caption"):
        Captions(tmp_path, format="tsv", columns="one,two")
    with pytest.raises(ComposirError, match="columns are of TSV files"):
        Captions(shards, columns="image,caption")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no text file"):
        Captions(tmp_path / "empty").pairs("train")
    shard(tmp_path / "b/0000.tar", {"a.png": png(1), "a.txt": "x"})
    with pytest.raises(DataError, match="two shards called '0000'"):
        Captions(f"{tmp_path}/?/0000.tar")
