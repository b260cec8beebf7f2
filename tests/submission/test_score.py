"""Scores of prediction files: the published golden numbers, an independent slow scorer, and what is worth a warning."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import numpy as np
import pytest

from composir.errors import ComposirError, DataError
from composir.submission.score import per_query, result, score

# Of CIRCO's own evaluation of its own sample: protocols of the benchmark, in per cent.
GOLDEN = {
    "mAP@5": 0.4861, "mAP@10": 0.5178, "mAP@25": 0.5400, "mAP@50": 0.6020,
    "Recall@5": 0.9091, "Recall@10": 0.9091, "Recall@25": 1.3636, "Recall@50": 3.6364,
    "mAP@10/cardinality": 0, "mAP@10/statement_with_conjunction": 0.6183, "mAP@10/comparative_statement": 1.0500,
    "mAP@10/spatial_relations_background": 0.1808, "mAP@10/compare_change": 0.0242, "mAP@10/addition": 0.0871,
    "mAP@10/direct_addressing": 0.9197, "mAP@10/viewpoint": 0.6173, "mAP@10/negation": 0,
}  # fmt: skip


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


# ---- slow scorers, from the annotation files, one query at a time ----


def mean(values) -> float:
    return 100 * sum(values) / len(values)


def slow_hits(pairs, k) -> float:
    return mean([float(target in ranking[:k]) for ranking, target in pairs])


def slow_cirr(records, recall=None, subset=None) -> dict[str, float]:
    found = {}
    for name, file, cutoffs in (("R", recall, (1, 5, 10, 50)), ("Rs", subset, (1, 2, 3))):
        if file:
            pairs = [(file[str(r["pairid"])], r["target_hard"]) for r in records]
            found |= {f"{name}@{k}": slow_hits(pairs, k) for k in cutoffs}
    return found


def slow_circo(records, file) -> dict[str, float]:
    found, by_aspect = {}, {}
    for k in (5, 10, 25, 50):
        precisions, hits = [], []
        for record in records:
            ranking, total, right = file[str(record["id"])], 0.0, 0
            for place, image in enumerate(ranking[:k], start=1):
                if image in record["gt_img_ids"]:
                    right += 1
                    total += right / place
            precisions.append(total / min(len(record["gt_img_ids"]), k))
            hits.append(float(record["target_img_id"] in ranking[:k]))
            if k == 10:
                for aspect in record["semantic_aspects"]:
                    by_aspect.setdefault(aspect, []).append(precisions[-1])
        found |= {f"mAP@{k}": mean(precisions), f"Recall@{k}": mean(hits)}
    return found | {f"mAP@10/{aspect}": mean(values) for aspect, values in by_aspect.items()}


# ---- CIRCO ----


def test_the_golden_numbers_of_circo(truth, shared_data):
    val = truth("circo", "val")
    found = result(score([shared_data / "circo/submission_examples/submission_val.json"], val), val)
    (task,) = found["tasks"]
    assert set(task["metrics"]) == set(GOLDEN)
    for name, value in GOLDEN.items():
        assert round(task["metrics"][name], 4) == value, name
        low, high = task["intervals"][name]
        assert 0 <= low <= task["metrics"][name] <= high
    assert found["average"] == {
        "Avg mAP (PANDA, ISA)": pytest.approx((0.4861 + 0.5178 + 0.5400 + 0.6020) / 4, abs=1e-4)
    }
    assert found["warnings"] == ["circo: the list of its gallery is not at hand, so no image id could be checked"]
    assert found["protocol"]["tasks"][0]["gallery"]["size"] is None


def test_circo_equals_a_slow_scorer(drawn, opened, truth, put):
    """A file for the hidden test split of a drawn set, against the truth laid open beside it."""
    root, rng = opened["circo"], random.Random(1)
    records = load(root / "annotations/test.json")
    images = range(1, 121)
    file = {}
    for record in records:
        favoured = [*record["gt_img_ids"][:2], *rng.sample(images, 50)]
        rng.shuffle(favoured)
        file[str(record["id"])] = list(dict.fromkeys(favoured))[:50]
    test = truth("circo", "test", root)
    (scored,) = score([put(file)], test)
    (task,) = result([scored], test)["tasks"]
    assert task["metrics"] == pytest.approx(slow_circo(records, file))
    assert 5 < task["metrics"]["mAP@10"] < 95
    with pytest.raises(DataError, match=r"circo test are not public; .*submit --check"):
        score([put(file)], truth("circo", "test", drawn["circo"]))


def test_metrics_of_an_aspect_are_over_the_queries_that_have_it(truth, shared_data):
    val = truth("circo", "val")
    (scored,) = score([shared_data / "circo/submission_examples/submission_val.json"], val)
    negation = scored.values["mAP@10/negation"]
    assert np.count_nonzero(~np.isnan(negation)) == 21
    assert all(
        ("negation" in q.aspects) == (not np.isnan(v)) for q, v in zip(val.tasks[0].queries, negation, strict=True)
    )


# ---- CIRR ----


@pytest.fixture(scope="module")
def cirr_records(shared_data):
    return load(shared_data / "cirr/captions/cap.rc2.val.json")


def test_a_perfect_file_of_cirr(cirr_lists, truth, put):
    val = truth("cirr", "val")
    both = [put(cirr_lists("perfect"), "r.json"), put(cirr_lists("perfect", 3, subset=True), "s.json")]
    found = result(score(both, val), val)
    (task,) = found["tasks"]
    assert task["metrics"] == dict.fromkeys(("R@1", "R@5", "R@10", "R@50", "Rs@1", "Rs@2", "Rs@3"), 100.0)
    assert task["intervals"]["R@1"] == pytest.approx([100 * 4181 / (4181 + 1.96**2), 100.0], abs=1e-3)  # Wilson
    assert (task["queries"], task["gallery"]) == (4181, 2297)
    assert found["average"] == {"Avg (Bi-BLIP4CIR, PANDA, MAPNet)": 100.0, "Avg (ISA)": 100.0}
    assert found["warnings"] == []
    assert [file["kind"] for file in found["protocol"]["files"]] == ["recall", "recall_subset"]


def test_a_random_file_of_cirr_equals_a_slow_scorer_and_is_at_chance(cirr_lists, cirr_records, truth, put):
    val = truth("cirr", "val")
    recall, subset = cirr_lists("random"), cirr_lists("random", 3, subset=True)
    found = result(score([put(subset, "s.json"), put(recall, "r.json")], val), val)
    (task,) = found["tasks"]
    assert task["metrics"] == pytest.approx(slow_cirr(cirr_records, recall, subset))
    assert list(task["metrics"]) == ["R@1", "R@5", "R@10", "R@50", "Rs@1", "Rs@2", "Rs@3"]
    for name, chance in {"R@50": 100 * 50 / 2296, "Rs@1": 20, "Rs@2": 40, "Rs@3": 60}.items():
        assert task["metrics"][name] == pytest.approx(chance, abs=3)
    assert found["average"]["Avg (Bi-BLIP4CIR, PANDA, MAPNet)"] == pytest.approx(
        (task["metrics"]["R@5"] + task["metrics"]["Rs@1"]) / 2
    )
    assert found["warnings"] == []


def test_a_constant_file_of_cirr_is_at_chance_and_warned_about(cirr_lists, cirr_records, truth, put):
    val = truth("cirr", "val")
    recall = cirr_lists("constant")
    found = result(score([put(recall)], val), val)
    (task,) = found["tasks"]
    assert task["metrics"] == pytest.approx(slow_cirr(cirr_records, recall))
    assert task["metrics"]["R@50"] < 5
    assert "all lists begin with" in found["warnings"][0]
    assert found["warnings"][1] == "no 'Avg (Bi-BLIP4CIR, PANDA, MAPNet)': it needs Rs@1, of CIRR's other file"
    assert set(found["average"]) == {"Avg (ISA)"}


@pytest.mark.parametrize("order", ["as they stand", "by name"])
def test_a_constant_subset_file_of_cirr_is_warned_about(cirr_lists, cirr_records, truth, put, order):
    val = truth("cirr", "val")
    subset = cirr_lists("constant", 3, subset=True)
    if order == "by name":
        for record in cirr_records:
            others = sorted(set(record["img_set"]["members"]) - {record["reference"]})
            subset[str(record["pairid"])] = others[:3]
    found = result(score([put(subset)], val), val)
    assert found["tasks"][0]["metrics"]["Rs@1"] == pytest.approx(20, abs=4)  # one of five
    told = "cirr: the images of each set (img_set) are always in one order, whatever is asked"
    assert found["warnings"][0] == told
    # One query whose words are heard is enough.
    first = subset[str(cirr_records[0]["pairid"])]
    first[0], first[1] = first[1], first[0]
    assert told not in result(score([put(subset)], val), val)["warnings"]


def test_lists_shorter_than_a_cutoff_bound_it(cirr_lists, cirr_records, truth, put):
    val = truth("cirr", "val")
    recall = cirr_lists("random", 7)
    found = result(score([put(recall)], val), val)
    assert found["tasks"][0]["metrics"] == pytest.approx(slow_cirr(cirr_records, recall))
    assert [w for w in found["warnings"] if "lower bound" in w] == [
        f"cirr: R@{k} is a lower bound: 4,181 of 4,181 lists are shorter than that" for k in (10, 50)
    ]


def test_two_files_of_one_kind_are_refused(cirr_lists, truth, put):
    files = [put(cirr_lists("random", 3), name) for name in ("a.json", "b.json")]
    with pytest.raises(DataError, match=r"a.json and .*b.json both answer cirr \(recall\)"):
        score(files, truth("cirr", "val"))


def test_a_wrong_list_is_refused_by_file_and_query(cirr_lists, truth, put):
    value = cirr_lists("random", 5)
    value["12060"][2] = "dev-244-0-img0"
    path = put(value)
    with pytest.raises(DataError) as refused:
        score([path], truth("cirr", "val"))
    assert str(refused.value).startswith(f"{path}: query 12060: 'dev-244-0-img0' is its own reference")


def test_ids_of_another_split_are_refused(truth, shared_data):
    with pytest.raises(DataError, match=r"ids look like the ids of test \(--split test\), not like those of val"):
        score([shared_data / "circo/submission_examples/submission_test.json"], truth("circo", "val"))


# ---- FashionIQ ----


@pytest.fixture(scope="module")
def fashion_files(shared_data):
    """Random start-kit files of val, the target near the top of every third list; the first list holds only seven."""

    def make(category: str) -> list[dict]:
        rng = random.Random(category)
        images = load(shared_data / f"fashioniq/image_splits/split.{category}.val.json")
        records = load(shared_data / f"fashioniq/captions/cap.{category}.val.json")
        for number, record in enumerate(records):
            order = rng.sample(images, 49)
            if number % 3 == 0:
                order.insert(rng.randrange(30), record["target"])
            if number % 5 == 0:
                order.insert(0, record["candidate"])
            record["ranking"] = list(dict.fromkeys(order))[: 50 if number else 7]
        return records

    return {category: make(category) for category in ("dress", "shirt", "toptee")}


def slow_fashion(records) -> dict[str, float]:
    return {f"R@{k}": slow_hits([(r["ranking"], r["target"]) for r in records], k) for k in (1, 5, 10, 50)}


def test_fashioniq_equals_a_slow_scorer(fashion_files, truth, put):
    val = truth("fashioniq", "val")
    paths = [put(records, f"{category}.val.pred.json") for category, records in fashion_files.items()]
    found = result(score(paths[::-1], val), val)
    slow = {category: slow_fashion(records) for category, records in fashion_files.items()}
    assert {task["name"]: task["metrics"] for task in found["tasks"]} == {c: pytest.approx(s) for c, s in slow.items()}
    tens, fifties = ([s[f"R@{k}"] for s in slow.values()] for k in (10, 50))
    assert 5 < min(tens) < min(fifties) < 50
    assert found["average"] == {
        "R@10": pytest.approx(sum(tens) / 3),
        "R@50": pytest.approx(sum(fifties) / 3),
        "Avg (Bi-BLIP4CIR, PANDA, MAPNet)": pytest.approx((sum(tens) / 3 + sum(fifties) / 3) / 2),
    }
    short = [w for w in found["warnings"] if w.startswith("dress: R@10 is a lower bound")]
    assert short == ["dress: R@10 is a lower bound: 1 of 2,017 lists are shorter than that"]


def test_one_category_alone_has_no_average(fashion_files, truth, put):
    val = truth("fashioniq", "val")
    found = result(score([put(fashion_files["shirt"], "x.json")], val, "shirt"), val)
    assert [task["name"] for task in found["tasks"]] == ["shirt"]
    assert found["average"] == {}
    assert "no 'R@10': it needs the files of dress, toptee" in found["warnings"]
    with pytest.raises(ComposirError, match="one file's category; give one file, not 2"):
        score([put([], "a"), put([], "b")], val, "shirt")


def test_a_missing_record_is_refused(fashion_files, truth, put):
    with pytest.raises(DataError, match=r"query 2016: is missing; all 2,017 queries"):
        score([put(fashion_files["dress"][:-1], "dress.json")], truth("fashioniq", "val"))


# ---- what makes a score less than it seems ----


def test_a_smaller_gallery_is_suspected(fashion_files, truth, put):
    val = truth("fashioniq", "val")
    records = fashion_files["toptee"]
    union = sorted({image for r in records for image in (r["candidate"], r["target"])})
    rng = random.Random(0)
    small = [{**r, "ranking": rng.sample(union, 50)} for r in records]
    (warning,) = [w for w in result(score([put(small)], val), val)["warnings"] if "gallery" in w]
    assert "no list names any of the 2,471 gallery images that are neither reference nor target" in warning
    (scored,) = score([put(records)], val)
    assert not [w for w in result([scored], val)["warnings"] if "gallery" in w]


def test_references_taken_out_are_suspected(fashion_files, truth, put):
    val = truth("fashioniq", "val")
    without = [{**r, "ranking": [i for i in r["ranking"] if i != r["candidate"]]} for r in fashion_files["dress"]]
    found = result(score([put(without)], val), val)["warnings"]
    assert "dress: no list names its own reference; if they were taken out, the protocol keeps them" in found
    assert not [w for w in result(score([put(fashion_files["dress"])], val), val)["warnings"] if "own reference" in w]


# ---- no torch, no pictures ----


def test_scoring_imports_no_torch(shared_data):
    code = (
        "import sys; from pathlib import Path; from composir.cli.score import score; "
        "score([Path(sys.argv[1], 'submission_examples/submission_val.json')], data='circo', root=Path(sys.argv[1])); "
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(shared_data / "circo")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mAP@10" in done.stdout


def test_per_query_values_are_what_the_means_are_made_of(cirr_lists, truth, put):
    val = truth("cirr", "val")
    (scored,) = score([put(cirr_lists("random", 5))], val)
    values = per_query(scored.task, scored.predictions)
    assert set(values) == {"R@1", "R@5", "R@10", "R@50"}
    (task,) = result([scored], val)["tasks"]
    for name, each in values.items():
        assert each.shape == (4181,)
        assert set(np.unique(each)) <= {0.0, 1.0}
        assert task["metrics"][name] == pytest.approx(100 * each.mean())
