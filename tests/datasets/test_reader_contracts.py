"""The contract of a data set over every reader of a benchmark, on small folders that are drawn or made by hand."""

from __future__ import annotations

import itertools
import json
import pickle
import shutil
from pathlib import Path

import pytest
from PIL import Image

from composir import datasets
from composir.datasets import load_dataset
from composir.datasets.wardrobe.writers import write
from composir.errors import DataError
from composir.testing import check_dataset

SIZE = {"fashioniq": 360, "cirr": 66, "circo": 120, "lasco": 60}
READERS = (*SIZE, "shoes", "genecis")
PICTURES = ("images", "train", "dev", "test1", "COCO2017_unlabeled/unlabeled2017", "train2014", "val2014")


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> dict[str, Path]:
    """One small folder of each, as its authors lay it out."""
    folder = tmp_path_factory.mktemp("readers")
    for name, size in SIZE.items():
        write(folder / name, name, size=size, image_size=64, seed=2, workers=1)
    write_shoes(folder / "shoes")
    write_genecis(folder / "genecis")
    return {name: folder / name for name in READERS}


def picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 12), (number * 7 % 256, number * 31 % 256, 90)).save(path)


def write_shoes(root: Path) -> None:
    """Six training shoes and six others, in two folders each."""
    names = {
        split: [f"img_womens_clogs_{first + n}.jpg" for n in range(6)] for split, first in (("train", 0), ("eval", 6))
    }
    for number, name in enumerate([*names["train"], *names["eval"]]):
        picture(root / f"womens_clogs/{number % 2}" / name, number)
    for split, mine in names.items():
        (root / f"{split}_im_names.txt").write_text("\n".join(mine))
    pairs = [pair for mine in names.values() for pair in itertools.pairwise(mine)]
    relative = [{"ImageName": b, "ReferenceImageName": a, "RelativeCaption": "is darker"} for a, b in pairs]
    plain = [{"ImageName": name, "Caption": "a clog"} for name in (*names["train"][:2], *names["eval"][:2])]
    (root / "relative_captions_shoes.json").write_text(json.dumps(relative))
    (root / "captions_shoes.json").write_text(json.dumps(plain))


def write_genecis(root: Path) -> None:
    """Two tasks of four queries with three candidates each."""
    for number in range(1, 8):
        picture(root / "val2017" / f"{number:012d}.jpg", number)
    for name in ("change_object", "focus_object"):
        records = [
            {
                "condition": "wall",
                "reference": {"val_image_id": n},
                "target": {"val_image_id": n + 1},
                "gallery": [{"val_image_id": n + 2}, {"val_image_id": n + 3}],
            }
            for n in range(1, 5)
        ]
        (root / f"{name}.json").write_text(json.dumps(records))


@pytest.mark.parametrize("name", READERS)
def test_readers(roots, name):
    check_dataset(load_dataset(name, root=roots[name]))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("fashioniq", {"join": "separate", "drop_reference": True}),
        ("fashioniq", {"join": "both orders"}),
        ("cirr", {"drop_reference": False}),
        ("circo", {"drop_reference": True, "use_shared_concept": True}),
        ("lasco", {"drop_reference": True}),
        ("shoes", {"drop_reference": True}),
    ],
)
def test_readers_with_options(roots, name, arguments):
    check_dataset(load_dataset(name, root=roots[name], **arguments), images=4)


@pytest.mark.parametrize("name", READERS)
def test_what_was_written_is_what_is_read(roots, name):
    data = load_dataset(name, root=roots[name])
    assert type(data).__module__ == f"composir.datasets.{name}"
    assert name in datasets.names()
    for split in data.splits:
        for file in data.files_of(split):
            assert file.is_file()
        tasks = data.tasks(split)
        asked = sum(len(task.queries) for task in tasks)
        assert len(data.triplets(split)) == (0 if any(task.hidden for task in tasks) else asked)
        named = {i for task in tasks for i in task.gallery}
        assert data.missing(sorted(named)) == []
        for metrics in data.averages.values():
            assert set(metrics) <= set(tasks[0].metrics)
    pictures = [path for _, path in data.images.all()]
    every = {i for split in data.splits for task in data.tasks(split) for i in task.gallery}
    every |= {query.reference for split in data.splits for task in data.tasks(split) for query in task.queries}
    assert sorted(data.path(image_id) for image_id in every) == sorted(pictures)  # no two ids have one picture


@pytest.mark.parametrize("name", READERS)
def test_annotations_alone_are_enough_to_read(roots, name, tmp_path):
    root = shutil.copytree(roots[name], tmp_path / name, ignore=shutil.ignore_patterns("*.png", "*.jpg"))
    data, whole = load_dataset(name, root=root), load_dataset(name, root=roots[name])
    for split in data.splits:
        assert data.tasks(split) == whole.tasks(split)
        gallery = data.tasks(split)[0].gallery
        assert data.missing(gallery) == list(gallery)
        with pytest.raises(DataError, match="has no picture"):
            data.image(gallery[0])


@pytest.mark.parametrize("name", READERS)
def test_readers_travel_light_to_workers(roots, name):
    data = load_dataset(name, root=roots[name])
    task = data.tasks(data.splits[-1])[0]
    assert data.image(task.gallery[0]).mode == "RGB"  # the folders have been walked now
    travelling = pickle.dumps(data)
    assert len(travelling) < 2000
    assert pickle.loads(travelling).image(task.gallery[0]).tobytes() == data.image(task.gallery[0]).tobytes()


@pytest.mark.parametrize("name", READERS)
def test_malformed_annotations_are_told_by_file_line_and_column(roots, name, tmp_path):
    for number in range(len(load_dataset(name, root=roots[name]).files_of("test" if name in READERS[4:] else "val"))):
        root = shutil.copytree(roots[name], tmp_path / str(number), ignore=shutil.ignore_patterns("*.png", "*.jpg"))
        data = load_dataset(name, root=root)
        split = data.splits[-1] if name in READERS[4:] else "val"
        file = data.files_of(split)[number]
        file.write_bytes(b"\xff\n{")
        with pytest.raises(DataError) as caught:
            list(data.tasks(split)), list(data.triplets(split)), list(data.pairs(split))
        assert str(caught.value).startswith(f"{file}: byte 0 is not UTF-8")
        if file.suffix == ".json":
            file.write_text('\n{"a": 1')
            with pytest.raises(DataError, match=r"line 2, column [0-9]+: is not JSON"):
                list(data.tasks(split)), list(data.triplets(split)), list(data.pairs(split))


def test_the_truth_kept_apart_opens_a_hidden_split(roots, tmp_path):
    root = shutil.copytree(roots["cirr"], tmp_path / "cirr")
    assert load_dataset("cirr", root=root).tasks("test")[0].hidden
    shutil.copytree(root / "truth", root, dirs_exist_ok=True)
    data = load_dataset("cirr", root=root)
    assert not data.tasks("test")[0].hidden
    check_dataset(data, images=4)


def test_a_folder_in_the_layout_of_mapnet(roots, tmp_path):
    renamed = {"dev": "val", "test1": "test"}
    root = shutil.copytree(roots["cirr"], tmp_path / "CIRR")
    for old, new in renamed.items():
        (root / old).rename(root / new)
    (root / "cirr").rename(root / "annotations")
    check_dataset(load_dataset("cirr", root=root), images=4)
    root = shutil.copytree(roots["lasco"], tmp_path / "LaSCo")
    for folder, names in (("images", ["train2014", "val2014"]), ("annotations", [p.name for p in root.glob("*.json")])):
        (root / folder).mkdir()
        for name in names:
            (root / name).rename(root / folder / name)
    check_dataset(load_dataset("lasco", root=root), images=4)
    root = shutil.copytree(roots["fashioniq"], tmp_path / "FashionIQ")
    whole = load_dataset("fashioniq", root=root)
    for category, split in ((t.name, s) for s in ("train", "val", "test") for t in whole.tasks(s)):
        (root / category).mkdir(exist_ok=True)
        for image_id in next(t for t in whole.tasks(split) if t.name == category).gallery:
            shutil.copy(root / f"images/{image_id}.png", root / category)
    shutil.rmtree(root / "images")
    check_dataset(load_dataset("fashioniq", root=root), images=4)
