"""`composir submit`: files for the server out of a drawn benchmark, and the check of any file."""

from __future__ import annotations

import json
import shutil

import pytest

from composir.datasets.wardrobe.writers import write


@pytest.fixture(scope="module")
def cirr(tmp_path_factory):
    return write(tmp_path_factory.mktemp("d") / "cirr", "cirr", size=66, image_size=64, workers=1).path


@pytest.fixture(scope="module")
def circo(tmp_path_factory):
    return write(tmp_path_factory.mktemp("d") / "circo", "circo", size=120, image_size=64, workers=1).path


SMALL = ("--backbone", "clip-tiny", "--workers", 0, "--device", "cpu")


def test_both_files_of_cirr_are_written_checked_and_scored(cli, cirr, tmp_path):
    out = tmp_path / "out"
    done = cli("submit", "slerp", "--data", "cirr", "--root", cirr, "-o", out, "--alpha", 0.5, *SMALL)
    assert done.code == 0, done.err
    files = sorted(out.iterdir())
    assert [file.name for file in files] == [
        "test1_pred_ranks_recall.json", "test1_pred_ranks_recall_subset.json",
    ]  # fmt: skip
    assert [line.partition(": ")[0] for line in done.out.splitlines()] == [str(file) for file in files]
    assert "send to https://cirr" in done.err
    recall, subset = (json.loads(file.read_text("utf-8")) for file in files)
    records = json.loads((cirr / "cirr/captions/cap.rc2.test1.json").read_text("utf-8"))
    assert set(recall) == set(subset) == {"version", "metric", *(str(r["pairid"]) for r in records)}
    for record in records:
        query, members = str(record["pairid"]), set(record["img_set"]["members"]) - {record["reference"]}
        assert set(recall[query]) == members  # of the drawn six, which are all of the gallery, without the reference
        assert len(subset[query]) == 3
        assert set(subset[query]) < members
    done = cli("submit", "--check", *files, "--data", "cirr", "--root", cirr)
    assert done.code == 0, done.err
    assert [line.rpartition(": ")[2] for line in done.out.splitlines()] == ["good for cirr test"] * 2
    known = tmp_path / "known"
    shutil.copytree(cirr, known, ignore=shutil.ignore_patterns("*.png"))
    shutil.copytree(cirr / "truth/cirr", known / "cirr", dirs_exist_ok=True)
    done = cli("score", *files, "--data", "cirr", "--root", known, "--split", "test", "--json")
    found = json.loads(done.out)["tasks"][0]["metrics"]
    right = [record["target_hard"] for record in json.loads((known / "cirr/captions/cap.rc2.test1.json").read_text())]
    top = [recall[str(record["pairid"])][0] for record in records]
    assert found["R@1"] == pytest.approx(100 * sum(map(str.__eq__, right, top)) / len(right))


def test_the_form_alone_is_checked_without_annotations(cli, shared_data, tmp_path):
    good = shared_data / "cirr/demo_files/test1_pred_ranks_recall_subset.json"
    done = cli("submit", "--check", good)
    told = "its form is good; queries, references and images were NOT checked: for that give --data and --root"
    assert (done.code, done.out) == (0, f"{good}: {told}\n")
    value = json.loads(good.read_text("utf-8"))
    query = next(key for key in value if key.isdigit())
    value[query][1] = value[query][0]
    bad, odd = tmp_path / "bad.json", tmp_path / "circo.json"
    bad.write_text(json.dumps(value), encoding="utf-8")
    odd.write_text(json.dumps({"0": list(range(1, 50))}), encoding="utf-8")
    done = cli("submit", "--check", bad, odd)
    assert done.code == 1
    assert f"error: {bad}: query {query}: {value[query][0]!r} is at places 1 and 2" in done.err
    assert f"error: {odd}: query 0: 49 answers instead of 50" in done.err
    done = cli("submit", "slerp", "-o", tmp_path / "out")
    assert (done.code, "say --data cirr or circo" in done.err) == (1, True)


def test_circo(cli, circo, tmp_path):
    done = cli("submit", "text-only", "--data", "circo", "--root", circo, "-o", tmp_path, *SMALL)
    assert done.code == 0, done.err
    value = json.loads((tmp_path / "submission_test.json").read_text("utf-8"))
    assert list(value) == [str(n) for n in range(len(value))]
    assert all(len(set(ids)) == 50 and all(type(i) is int for i in ids) for ids in value.values())
    done = cli("submit", "text-only", "--data", "circo", "--root", circo, "-o", tmp_path, *SMALL)
    assert (done.code, "is there already" in done.err) == (1, True)


def test_a_check_tells_every_problem_of_every_file(cli, shared_data, tmp_path):
    sample = shared_data / "cirr/demo_files/test1_pred_ranks_recall_subset.json"
    value = json.loads(sample.read_text("utf-8"))
    for query in list(value)[2:32]:
        value[query] = value[query][:2]
    bad, worse = tmp_path / "bad.json", tmp_path / "worse.json"
    bad.write_text(json.dumps(value), encoding="utf-8")
    worse.write_text("[]", encoding="utf-8")
    done = cli("submit", "--check", bad, sample, worse, "--data", "cirr", "--root", shared_data / "cirr")
    assert done.code == 1
    assert done.out == f"{sample}: good for cirr test\n"
    lines = done.err.splitlines()
    assert len(lines) == 20 + 1 + 1
    assert lines[0] == f"error: {bad}: query 12063: 2 answers instead of 3"
    assert lines[20] == f"error: {bad}: and 10 more"
    assert lines[21].startswith(f"error: {worse}: holds a list; the format is")


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_samples_of_circo_pass(cli, shared_data, split):
    root = shared_data / "circo"
    sample = root / f"submission_examples/submission_{split}.json"
    done = cli("submit", "--check", sample, "--data", "circo", "--root", root, "--split", split)
    assert (done.code, done.out) == (0, f"{sample}: good for circo {split}\n")
    assert "image ids were not checked" in done.err


def test_what_is_asked_wrongly_is_refused_before_any_work(cli, cirr, tmp_path):
    base = ("--data", "cirr", "--root", cirr)
    for arguments, said in (
        (("slerp", *base), "say -o FOLDER"),
        (("slerp", "sum", *base, "-o", tmp_path / "o"), "2 methods are named"),
        (("slurp", *base, "-o", tmp_path / "o"), "did you mean 'slerp'"),
        (("text-only", *base, "-o", tmp_path / "o", "--alpha", 0.5, *SMALL), "takes no 'alpha'"),
        (("slerp", "--data", "wardrobe", "--root", cirr, "-o", tmp_path / "o"), "wardrobe"),
        (("--check", tmp_path / "none.json", *base), "no such file"),
    ):
        done = cli("submit", *arguments)
        assert done.code == 1, arguments
        assert said in done.err
        assert not (tmp_path / "o").exists()
