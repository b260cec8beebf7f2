"""Submissions over drawn benchmarks: as a slow loop ranks, and as the truth that lies apart scores them."""

from __future__ import annotations

import json
import shutil
from itertools import pairwise

import pytest
import torch

from composir.errors import ComposirError, DataError
from composir.evaluation import rank, report
from composir.submission.files import check, save
from composir.submission.rank import predict
from composir.submission.score import result, score

ALPHA = 0.6


@pytest.fixture(scope="module")
def cirr(drawn, truth, tiny_method):
    """Its two files for the hidden split."""
    return predict(tiny_method, truth("cirr", "test", drawn["cirr"]), workers=0, alpha=ALPHA)


@pytest.fixture(scope="module")
def circo(drawn, truth, tiny_method):
    """By the picture alone, to which nothing is as like as itself."""
    return predict(tiny_method, truth("circo", "test", drawn["circo"]), workers=0, alpha=0.0)


@torch.inference_mode()
def slow_scores(method, data, query, ids, **controls) -> dict[str, float]:
    """One picture at a time; half precision, as an index keeps it."""
    reference = method.encode_reference(method.transform("reference")(data.image(query.reference))[None])
    vector = method.compose(reference, [query.captions[0]], **controls)[0, 0]
    transform = method.transform("gallery")
    return {i: float(vector @ method.encode_gallery(transform(data.image(i))[None])[0, 0].half().float()) for i in ids}


def assert_descending(names, scores, dropped=None):
    """Best first but for rounding, and nothing better left out."""
    assert dropped not in names
    assert len(set(names)) == len(names)
    values = [scores[name] for name in names]
    assert all(a >= b - 1e-4 for a, b in pairwise(values))
    left = [score for name, score in scores.items() if name not in names and name != dropped]
    assert not left or max(left) <= min(values) + 1e-4


def test_cirr_is_ranked_as_a_slow_loop_does(cirr, drawn, truth, tiny_method):
    test = truth("cirr", "test", drawn["cirr"])
    recall, subset = cirr
    assert (recall.kind, subset.kind) == ("recall", "recall_subset")
    for query in test.tasks[0].queries[:3]:
        scores = slow_scores(tiny_method, test.dataset, query, test.tasks[0].gallery, alpha=ALPHA)
        assert len(recall.lists[query.id]) == 50
        assert_descending(recall.lists[query.id], scores, query.reference)
        within = {member: scores[member] for member in query.subset}
        assert len(subset.lists[query.id]) == 3
        assert_descending(subset.lists[query.id], within, query.reference)


def test_circo_is_ranked_as_a_slow_loop_does(circo, drawn, truth, tiny_method):
    test = truth("circo", "test", drawn["circo"])
    (only,) = circo
    query = test.tasks[0].queries[0]
    scores = slow_scores(tiny_method, test.dataset, query, test.tasks[0].gallery, alpha=0.0)
    assert_descending(only.lists[query.id], scores)
    assert all(q.reference == only.lists[q.id][0] for q in test.tasks[0].queries)  # which this server takes


def test_the_files_pass_the_check(cirr, circo, drawn, truth, tmp_path):
    for name, predictions in (("cirr", cirr), ("circo", circo)):
        test = truth(name, "test", drawn[name])
        for path in save(predictions, tmp_path / name, test):
            assert check(path, test) == []
    value = json.loads((tmp_path / "circo/submission_test.json").read_text("utf-8"))
    assert all(type(i) is int for ids in value.values() for i in ids)


def test_the_hidden_truth_scores_the_files_as_a_slow_scorer_and_as_evaluation(
    cirr, drawn, opened, truth, tmp_path, tiny_method
):
    hidden, known = (truth("cirr", "test", of["cirr"]) for of in (drawn, opened))
    files = save(cirr, tmp_path, hidden)
    (task,) = result(score(files, known), known)["tasks"]
    records = json.loads((drawn["cirr"] / "truth/cirr/captions/cap.rc2.test1.json").read_text("utf-8"))
    recall, subset = (json.loads(path.read_text("utf-8")) for path in files)
    for name, file in {"R": recall, "Rs": subset}.items():
        for k in (1, 5, 10, 50) if name == "R" else (1, 2, 3):
            right = [r["target_hard"] in file[str(r["pairid"])][:k] for r in records]
            assert task["metrics"][f"{name}@{k}"] == pytest.approx(100 * sum(right) / len(right))
    asked = known.tasks[0]
    evaluated = report(rank(tiny_method, asked, hidden.dataset, alpha=ALPHA), asked)
    assert task["metrics"] == {name: pytest.approx(of.value) for name, of in evaluated.items()}
    assert 0 < task["metrics"]["R@10"] < 100


def test_the_hidden_truth_scores_circo_as_evaluation(circo, drawn, opened, truth, tmp_path, tiny_method):
    hidden, known = (truth("circo", "test", of["circo"]) for of in (drawn, opened))
    (task,) = result(score(save(circo, tmp_path, hidden), known), known)["tasks"]
    asked = known.tasks[0]
    evaluated = report(rank(tiny_method, asked, hidden.dataset, alpha=0.0), asked)
    assert task["metrics"] == {name: pytest.approx(of.value) for name, of in evaluated.items()}


def test_a_submission_needs_every_picture_and_the_whole_gallery(drawn, truth, tiny_method, tmp_path):
    shutil.copytree(drawn["cirr"], tmp_path / "cirr")
    gone = truth("cirr", "test", drawn["cirr"]).tasks[0].gallery[3]
    (tmp_path / f"cirr/test1/{gone}.png").unlink()
    with pytest.raises(DataError, match=f"1 of 60 pictures.*{gone}"):
        predict(tiny_method, truth("cirr", "test", tmp_path / "cirr"), workers=0)
    (tmp_path / f"cirr/test1/{gone}.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=f"1 of 60 pictures.*{gone}"):
        predict(tiny_method, truth("cirr", "test", tmp_path / "cirr"), workers=0)
    shutil.copytree(drawn["circo"], tmp_path / "circo")
    (tmp_path / "circo/COCO2017_unlabeled/annotations/image_info_unlabeled2017.json").unlink()
    with pytest.raises(DataError, match=r"image_info_unlabeled2017\.json"):
        predict(tiny_method, truth("circo", "test", tmp_path / "circo"), workers=0)


def test_what_cannot_be_submitted_is_refused(drawn, truth, tiny_method):
    with pytest.raises(ComposirError, match="'fashioniq'"):
        predict(tiny_method, truth("fashioniq", "val"), workers=0)
    with pytest.raises(ComposirError, match="takes no 'beta'"):
        predict(tiny_method, truth("cirr", "test", drawn["cirr"]), workers=0, beta=1.0)
