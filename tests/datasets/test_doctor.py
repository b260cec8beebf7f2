"""The doctor finds what was broken on purpose, all of it and nothing else, and its costs are those of a slow count."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from composir.datasets import load_dataset
from composir.datasets.base import Dataset
from composir.datasets.captions import Captions
from composir.datasets.doctor import Copies, examine, probe
from composir.datasets.doctor.annotations import Annotations
from composir.datasets.doctor.costs import costs
from composir.datasets.doctor.oddities import Repeated, Wordless, repeated, wordless
from composir.datasets.doctor.twins import twins
from composir.datasets.jsonl import Jsonl
from composir.datasets.wardrobe.writers import write
from composir.errors import DataError
from composir.types import Pair, Query, Task

CATEGORIES = ("dress", "shirt", "toptee")


@pytest.fixture(scope="module")
def fashioniq(tmp_path_factory) -> Path:
    """FashionIQ's layout, whole."""
    root = tmp_path_factory.mktemp("doctor") / "fashioniq"
    write(root, "fashioniq", size=600, image_size=64, seed=3, workers=1)
    return root


def load(root: Path, path: str):
    return json.loads((root / path).read_text(encoding="utf-8"))


def test_a_whole_set_is_complete(fashioniq):
    found = examine(load_dataset("fashioniq", root=fashioniq), workers=0)
    assert found.complete
    assert (found.problems, found.warnings) == (0, 0)
    assert found.named == found.opened == 600
    assert not any(cost.lost or cost.fewer_targets or cost.fewer_members or cost.gallery_lost for cost in found.costs)
    assert found.notes == ()


def test_a_hundred_removed_and_three_corrupted_are_named_with_their_costs(fashioniq, tmp_path):
    root = tmp_path / "fashioniq"
    shutil.copytree(fashioniq, root, copy_function=os.link)
    files = sorted((root / "images").iterdir())
    picked = random.Random(1).sample(files, 103)
    for path in picked[3:]:
        path.unlink()
    for path, content in zip(picked, (b"", b"no picture", picked[2].read_bytes()[:900]), strict=False):
        path.unlink()  # and not through the link
        path.write_bytes(content)
    gone = {path.stem for path in picked}
    found = examine(load_dataset("fashioniq", root=root), workers=2)

    assert set(found.missing) == {path.stem for path in picked[3:]}
    assert {(u.image, u.reason) for u in found.unreadable} == {
        (picked[0].stem, "empty file"), (picked[1].stem, "not an image"), (picked[2].stem, "truncated"),
    }  # fmt: skip
    assert (found.named, found.opened, found.problems) == (600, 497, 103)
    assert set(found.blame) == gone

    # Counted again from the annotation files themselves, query by query.
    told = {(cost.split, cost.name): cost for cost in found.costs}
    for split in ("train", "val", "test"):
        lost_triplets = []
        for category in CATEGORIES:
            cost = told[split, category]
            gallery = load(root, f"image_splits/split.{category}.{split}.json")
            records = load(root, f"captions/cap.{category}.{split}.json")
            lost = [
                str(i)
                for i, r in enumerate(records)
                if r["candidate"] in gone or r.get("target", r["candidate"]) in gone
            ]
            assert cost.lost == tuple(lost)
            assert cost.queries == len(records)
            assert cost.gallery == len(gallery)
            assert cost.gallery_lost == tuple(name for name in gallery if name in gone)
            assert cost.fewer_targets == cost.fewer_members == ()
            lost_triplets += [f"{category}/{i}" for i in lost]
        if split != "test":  # its truth is hidden: nothing to train on
            assert told[split, "triplets"].lost == tuple(lost_triplets)
    for image, blame in found.blame.items():
        asked, galleries = [], []
        for split in ("train", "val", "test"):
            for category in CATEGORIES:
                for i, record in enumerate(load(root, f"captions/cap.{category}.{split}.json")):
                    asked += [f"{split} {category} {i}"] * (image in (record["candidate"], record.get("target")))
                inside = image in load(root, f"image_splits/split.{category}.{split}.json")
                galleries += [f"{split} {category}"] * inside
        assert blame.lost == asked
        assert blame.galleries == galleries
    assert sum(len(cost.lost) for cost in found.costs) > 0


# ---- costs against a slow count, on anything ----

IDS = st.sampled_from("abcdefgh")
FEW = st.lists(IDS, max_size=4, unique=True).map(tuple)


@given(
    st.lists(st.tuples(IDS, FEW, FEW), min_size=1, max_size=5), st.sets(IDS, min_size=1), st.sets(IDS), st.booleans()
)
def test_costs_equal_a_slow_count(rows, gallery, gone, drop):
    queries = tuple(Query(str(i), row[0], ("x",), *row[1:]) for i, row in enumerate(rows))
    task = Task("t", tuple(sorted(gallery)), queries, ("R@1",), drop)
    pairs = [Pair(str(i), image, ("x",)) for i, image in enumerate("abca")]
    said = Annotations("val", [task], task.queries, pairs)
    (of_task, of_triplets, of_pairs), blame = costs([said], gone)
    outside = gone | (set("abcdefgh") - set(task.gallery))

    def unranked(q):
        """What cannot be a target: also the reference, where it is taken out, as it always is within a subset."""
        return outside | ({q.reference} if drop or q.subset else set())

    for cost, away_of in ((of_task, unranked), (of_triplets, lambda _: gone)):
        lost, targets, members = [], [], []
        for q in task.queries:
            away = away_of(q)
            if q.reference in gone or (q.targets and all(t in away for t in q.targets)):
                lost.append(q.id)
                continue
            if any(t in away for t in q.targets):
                targets.append(q.id)
            if any(m in away and m != q.reference for m in q.subset):
                members.append(q.id)
        assert (cost.lost, cost.fewer_targets, cost.fewer_members) == (tuple(lost), tuple(targets), tuple(members))
    assert of_task.gallery_lost == tuple(i for i in task.gallery if i in gone)
    assert of_pairs.lost == tuple(p.id for p in pairs if p.image in gone)
    for image in gone:
        said_lost, said_fewer, said_members = [], [], []
        for q in task.queries:
            all_gone = bool(q.targets) and all(t in unranked(q) for t in q.targets)
            said_lost += [q.id] * ((q.reference == image) + (image in q.targets and all_gone))
            said_fewer += [q.id] * (image in q.targets and not all_gone)
            said_members += [q.id] * (image in q.subset and image != q.reference and image not in q.targets)
        assert [place.split()[-1] for place in blame[image].lost] == said_lost
        assert [place.split()[-1] for place in blame[image].fewer_targets] == said_fewer
        assert [place.split()[-1] for place in blame[image].fewer_members] == said_members


# ---- each kind of problem ----


@pytest.fixture
def shop(tmp_path) -> Path:
    """A plain set, sound: galleries of their own, two queries with several targets and subsets."""
    for number, name in enumerate(("a", "b", "c", "sub/d", "e")):
        path = tmp_path / f"images/{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4 + number), (9 * number, 1, 1)).save(path)
    rows = [
        {"reference": "a", "caption": "x", "targets": ["b", "c"], "subset": ["a", "b", "sub/d"]},
        {"reference": "b", "caption": "y", "targets": ["sub/d"], "subset": ["b", "sub/d"]},
    ]
    (tmp_path / "triplets.test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "pairs.train.jsonl").write_text('{"image": "e", "caption": "x"}\n')
    (tmp_path / "gallery.test.txt").write_text("a\nb\nc\nsub/d\n")
    return tmp_path


def test_nothing_is_wrong_with_the_shop(shop):
    found = examine(Jsonl(shop), workers=0)
    assert (found.complete, found.problems, found.warnings) == (True, 0, 0)


def test_a_lost_target_among_several(shop):
    (shop / "images/b.png").unlink()
    found = examine(Jsonl(shop), workers=0)
    cost = next(cost for cost in found.costs if cost.kind == "task")
    assert (cost.lost, cost.fewer_targets, cost.fewer_members) == (("1",), ("0",), ("0",))
    assert cost.gallery_lost == ("b",)
    blame = found.blame["b"]
    assert [len(p) for p in (blame.lost, blame.fewer_targets, blame.fewer_members, blame.training)] == [1, 1, 0, 0]


def test_only_what_is_trained_on_is_said_to_be_lost_for_training(shop):
    """A set that is made for evaluation gives its queries as triplets too; nobody trains on them."""
    (shop / "images/b.png").unlink()
    (shop / "images/e.png").unlink()
    blame = examine(Jsonl(shop), workers=0).blame
    assert blame["b"].training == []
    assert blame["e"].training == ["train pairs 0"]
    (shop / "triplets.test.jsonl").rename(shop / "triplets.train.jsonl")
    (shop / "gallery.test.txt").unlink()
    assert examine(Jsonl(shop), workers=0).blame["b"].training == ["train triplets 1"]


def test_a_second_file_of_a_picture(shop):
    Image.new("RGB", (3, 3)).save(shop / "images/sub/d.gif")
    Image.new("RGB", (5, 3)).save(shop / "images/sub/a.png")  # another picture: here the folder is part of the name
    found = examine(Jsonl(shop), workers=0)
    assert found.copies == (Copies("sub/d", str(shop / "images/sub/d.gif"), (str(shop / "images/sub/d.png"),)),)
    assert found.foreign == (str(shop / "images/sub/a.png"),)


def test_a_second_file_where_any_folder_will_do(fashioniq, tmp_path):
    root = tmp_path / "fashioniq"
    shutil.copytree(fashioniq, root, copy_function=os.link)
    first, second = sorted((root / "images").iterdir())[:2]
    (root / "images/old").mkdir()
    shutil.copy(first, root / "images/old" / first.name)
    shutil.copy(second, root / "images/other.png")
    found = examine(load_dataset("fashioniq", root=root), decode=False, workers=0)
    assert found.copies == (Copies(first.stem, str(first), (str(root / "images/old" / first.name),)),)
    assert found.foreign == (str(root / "images/other.png"),)
    assert (found.problems, found.warnings) == (0, 2)


@pytest.mark.parametrize("decode", [True, False])
def test_the_same_bytes_under_two_names(shop, decode):
    shutil.copy(shop / "images/a.png", shop / "images/c.png")
    found = examine(Jsonl(shop), decode=decode, workers=0)
    assert [own.images for own in found.same] == [("a", "c")]
    assert found.same[0].galleries == (f"test {shop.name}",)
    assert found.same[0].tied == ()  # "a" is the reference of the query for "c", and taken out of its ranking
    assert (found.problems, found.warnings) == (0, 1)
    assert found.opened == (5 if decode else 0)


def test_what_twins_cost_is_counted_again():
    """Against the obvious loop over all pairs of a group."""
    chance = random.Random(3)
    images = [f"i{n}" for n in range(12)]
    picked = [chance.sample(images, chance.choice([2, 3])) for _ in range(60)]
    queries = tuple(Query(f"q{n}", own[0], ("x",), tuple(own[1:])) for n, own in enumerate(picked))
    whole = Task("whole", tuple(images), queries, ("R@1",), drop_reference=True)
    said = Annotations("val", [whole, Task("few", ("i0", "i2", "i5"), queries, ("R@1",), drop_reference=False)])
    groups = [("i0", "i1"), ("i2", "i3", "i4"), ("i5", "i6")]
    for group, own in zip(groups, twins([said], groups), strict=True):
        tied = []
        for query in queries:
            there = [image for image in group if image != query.reference]
            if any(a in query.targets and b not in query.targets for a in there for b in there):
                tied.append(f"val whole {query.id}")
        assert (own.images, own.galleries) == (group, ("val whole",))
        assert list(own.tied) == tied
        assert tied


def test_captions_without_words():
    texts = [("x", "y"), ("x", " "), (".", ""), ("x",), ("\t\n",)]
    queries = tuple(Query(str(n), f"r{n}", own, ("t",)) for n, own in enumerate(texts))
    task = Task("dress", ("t",), queries, ("R@1",), drop_reference=False)
    # Triplets are the same queries once more, and count where nothing is asked alone.
    said = [Annotations("val", [task], queries), Annotations("train", (), queries[1:2])]
    assert wordless(said) == (
        Wordless("val", "dress", "1", 2, 1), Wordless("val", "dress", "2", 2, 2), Wordless("val", "dress", "4", 1, 1),
        Wordless("train", "triplets", "1", 2, 1),
    )  # fmt: skip


def test_queries_that_stand_more_than_once():
    """Against the obvious loop over all pairs."""
    chance = random.Random(5)
    rows = [(chance.choice("ab"), chance.choice("xy"), chance.choice("cd"), chance.choice("ef")) for _ in range(40)]
    queries = tuple(Query(str(n), r, (c,), (t,), (r, t, s)) for n, (r, c, t, s) in enumerate(rows))
    tasks = [Task(name, tuple("abcdef"), queries[cut], ("R@1",), False) for name, cut in
             (("all", slice(None)), ("one", slice(1)))]  # fmt: skip
    groups = {tuple(str(i) for i, other in enumerate(rows) if other == row) for row in rows}
    wanted = {Repeated("val", "all", group) for group in groups if len(group) > 1}
    found = repeated([Annotations("val", tasks, queries)])
    assert len(found) == len(wanted) > 5
    assert set(found) == wanted


def test_oddities_of_the_published_files(shared_data):
    """Counted from the files: a blank caption is asked, a record that stands twice counts twice, and both are told."""
    told = {}
    for name in ("fashioniq", "cirr", "circo", "shoes", "genecis"):
        data = load_dataset(name, root=shared_data / name)
        said = []
        for split in data.splits:
            with contextlib.suppress(DataError):  # CIRR's train is not at hand
                said.append(Annotations(split, data.tasks(split)))
        blank = Counter((own.split, own.task) for own in wordless(said))
        again = Counter((own.split, own.task) for own in repeated(said) for _ in own.queries[1:])
        told[name] = (dict(blank), dict(again))
    # dress of train has a caption "." beside another: no word either.
    blank = {("train", "toptee"): 12, ("train", "dress"): 1, ("val", "shirt"): 1, ("val", "toptee"): 2,
             ("test", "shirt"): 1}  # fmt: skip
    assert told["fashioniq"] == (blank, {("test", "dress"): 6, ("test", "shirt"): 6})
    assert told["cirr"] == ({("test", "cirr"): 1}, {("test", "cirr"): 4})
    assert told["circo"] == ({}, {("test", "circo"): 1})
    assert told["shoes"] == ({}, {})
    raw = {name: load(shared_data, f"genecis/{name}.json") for name in ("change_object", "focus_object")}
    copies = {name: len(own) - len({json.dumps(r, sort_keys=True) for r in own}) for name, own in raw.items()}
    assert told["genecis"] == ({}, {("test", name): count for name, count in copies.items()})
    assert min(copies.values()) > 100


def test_annotations_that_point_nowhere(shop):
    (shop / "gallery.test.txt").write_text("b\nc\n")
    found = examine(Jsonl(shop), workers=0)
    assert {(a.query, a.role, a.image) for a in found.astray} == {
        ("0", "reference", "a"), ("0", "subset", "sub/d"), ("1", "target", "sub/d"), ("1", "subset", "sub/d"),
    }  # fmt: skip
    cost = next(cost for cost in found.costs if cost.kind == "task")
    assert (cost.lost, cost.fewer_members) == (("1",), ("0",))
    (shop / "set.json").write_text('{"drop_reference": false}')
    assert "reference" not in {astray.role for astray in examine(Jsonl(shop), workers=0).astray}


def test_annotations_that_cannot_be_read(shop):
    (shop / "pairs.train.jsonl").write_text('{"imge": "e", "caption": "x"}\n')
    found = examine(Jsonl(shop), workers=0)
    [fault] = found.faults
    assert fault.split == "train"
    assert "line 1: unknown key 'imge'" in fault.why
    assert found.foreign == ()  # for e may well be named there
    assert "1 picture may be foreign" in found.notes[0]
    assert examine(Jsonl(shop), ["test"], workers=0).problems == 0


def test_a_malformed_line_in_a_file_of_all_splits(shop):
    rows = (shop / "triplets.test.jsonl").read_text()
    (shop / "triplets.test.jsonl").unlink()
    (shop / "triplets.jsonl").write_text(rows + '{"reference": "e", "caption": "z", "targt": "a", "split": "val"}\n')
    found = examine(Jsonl(shop), workers=0)
    assert found.splits == ("train", "val", "test")
    # val and test are read from that file, and so would train's triplets be.
    assert [fault.split for fault in found.faults] == ["train", "val", "test"]
    assert all("triplets.jsonl: line 3: unknown key 'targt'" in fault.why for fault in found.faults)
    assert (found.named, found.opened) == (1, 1)  # train's pair, in a file of its own
    assert found.problems == 3


def test_a_malformed_set_json(shop):
    (shop / "set.json").write_text('{"metrics": "R@1"}')
    found = examine(Jsonl(shop), workers=0)
    assert [fault.split for fault in found.faults] == ["train", "test"]
    assert all("set.json: set: key 'metrics' holds the text" in fault.why for fault in found.faults)


def test_the_annotations_of_other_splits_count_for_foreign_pictures(shop):
    found = examine(Jsonl(shop), ["test"], workers=0)
    assert (found.splits, found.named, found.foreign) == (("test",), 4, ())


def test_an_unknown_split_is_refused(shop):
    with pytest.raises(DataError, match="no split 'val'; there is train, test"):
        examine(Jsonl(shop), ["val"])


def test_a_sample(fashioniq):
    found = examine(load_dataset("fashioniq", root=fashioniq), sample=7, workers=0)
    assert found.opened == 7
    assert found.notes == ("593 pictures were not opened",)


def test_pictures_of_captions(tmp_path):
    for name in ("a", "b"):
        Image.new("RGB", (4, 4 + ord(name))).save(tmp_path / f"{name}.png")
    (tmp_path / "x.tsv").write_text("a.png\tx\nc.png\ty\n")
    found = examine(Captions(tmp_path), workers=0)
    assert found.missing == ("c.png",)
    assert found.foreign == (str(tmp_path / "b.png"),)
    assert found.blame["c.png"].training == ["train pairs c.png"]
    assert found.costs[0].lost == ("c.png",)


class Broken(Sequence):
    """Two pairs, the second unreadable."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, at):
        if at == 1:
            raise DataError("x.txt: holds no caption")
        return Pair("p", "a", ("x",))


class Drawn(Dataset):
    """Its pictures are no files, and one cannot be had."""

    name = "drawn"
    splits = ("train",)

    def tasks(self, split):
        return []

    def triplets(self, split):
        return [Query("q", "b", ("x",), ("a",))]

    def pairs(self, split):
        return Broken()

    def image(self, image_id):
        if image_id == "b":
            raise DataError("b cannot be drawn")
        return Image.new("RGB", (2, 2))


def test_pictures_that_are_no_files_and_a_pair_that_cannot_be_read():
    found = examine(Drawn(), workers=0)
    assert [(u.image, u.reason, u.detail) for u in found.unreadable] == [("b", "DataError", "b cannot be drawn")]
    assert [fault.why for fault in found.faults] == ["x.txt: holds no caption"]
    assert "are not files" in found.notes[0]
    assert found.blame["b"].training == ["train triplets q"]


# ---- files that kill ----

KILLING = """
    import os, signal, sys, time
    from PIL import Image
    from composir.datasets.base import Dataset
    from composir.types import Pair

    class Killing(Dataset):
        name, splits = "killing", ("train",)
        def tasks(self, split): return []
        def triplets(self, split): return []
        def pairs(self, split): return [Pair(f"{i:03}", f"{i:03}", ("x",)) for i in range(40)]
        def image(self, image_id):
            if image_id == "007": os.kill(os.getpid(), signal.SIGSEGV)
            if image_id == "021": os._exit(3)
            return Image.new("RGB", (2, 2))
"""


def test_a_picture_that_kills_its_process_is_named_and_the_rest_goes_on(tmp_path, monkeypatch):
    (tmp_path / "killing_set.py").write_text(textwrap.dedent(KILLING))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "killing_set", None)
    del sys.modules["killing_set"]
    import killing_set

    told = []
    found = examine(killing_set.Killing(), workers=2, progress=lambda *progress: told.append(progress))
    assert [(u.image, u.reason) for u in found.unreadable] == [
        ("007", "crashes the decoder"), ("021", "crashes the decoder"),
    ]  # fmt: skip
    assert found.opened == 38
    assert told[-1] == (40, 40)


def test_a_picture_that_takes_too_long_ends_its_process(tmp_path, monkeypatch):
    (tmp_path / "slow_set.py").write_text(
        textwrap.dedent(KILLING)
        .replace("os.kill(os.getpid(), signal.SIGSEGV)", "time.sleep(60)")
        .replace("os._exit(3)", "pass")
        .replace("range(40)", "range(10)")
        + "\nfrom composir.datasets.doctor import probe\nprobe.PATIENCE = 0.5\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(probe, "PATIENCE", 0.5)
    import slow_set

    found = examine(slow_set.Killing(), workers=1)
    assert [(u.image, u.reason) for u in found.unreadable] == [("007", "too slow")]
    assert found.opened == 9
