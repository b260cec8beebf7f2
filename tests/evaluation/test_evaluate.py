"""A whole evaluation against a slow loop, what it encodes and how often, and what it leaves behind."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from composir.datasets.wardrobe import Wardrobe
from composir.errors import ComposirError, DataError
from composir.evaluation import evaluate, rank
from composir.evaluation.rows import rows_of
from composir.evaluation.tables import table
from composir.methods import load_method
from composir.methods.base import Method
from composir.methods.slerp import ALPHA
from composir.types import Query, Task, Wording


@pytest.fixture(scope="module")
def tasks(data) -> list[Task]:
    """Twelve queries each over the first 42 pictures; a task of own candidates; references outside a gallery."""
    families, concepts = data.tasks("test")
    inside = frozenset(families.gallery[:42])
    asked = tuple(q for q in families.queries if {q.reference, *q.targets, *q.subset} <= inside)[:12]
    wide = tuple(
        replace(q, targets=there, aspects=("even",) if i % 2 else ("odd", "three"))
        for i, q in enumerate(concepts.queries)
        if q.reference in inside and (there := tuple(t for t in q.targets if t in inside))
    )
    gallery = families.gallery[:42]
    return [
        replace(families, gallery=gallery, queries=asked),
        replace(concepts, gallery=gallery, queries=wide, metrics=("mAP@5", "mAP@50", "Recall@5", "mAP@10/*", "R@10")),
        Task("own", gallery, asked, ("R@1", "R@2"), drop_reference=False, own_candidates=True),
        Task(
            "outside", gallery[:30], tuple(Query(f"o{i}", data.ids("test")[50 + i], ("is red", "has dots"),
            (gallery[i],)) for i in range(9)), ("R@1", "R@5"), drop_reference=False, wording=Wording("reversed"),
        ),
    ]  # fmt: skip


def slow_metrics(slow, method, task, data) -> dict[str, float]:
    """Every metric of the task in per cent, by the definitions."""
    sums: dict[str, list[float]] = {}
    for query in task.queries:
        candidates = query.subset if task.own_candidates else task.gallery
        out = task.drop_reference or task.own_candidates
        order = [
            i for _, i in slow(method, task, data, query, [c for c in candidates if not out or c != query.reference])
        ]
        others = [m for m in query.subset if m != query.reference]
        within = [i for _, i in slow(method, task, data, query, others)]
        for metric in task.metrics:
            kind, _, rest = metric.partition("@")
            k = int(rest.partition("/")[0])
            if kind == "R":
                value = float(any(t in order[:k] for t in query.targets))
            elif kind == "Recall":
                value = float(query.targets[0] in order[:k])
            elif kind == "Rs":
                value = float(query.targets[0] in within[:k])
            else:
                hits = [i for i, answer in enumerate(order[:k], start=1) if answer in query.targets]
                value = sum((j + 1) / i for j, i in enumerate(hits)) / min(len(query.targets), k)
            names = [f"{kind}@{k}/{a}" for a in query.aspects] if metric.endswith("/*") else [metric]
            for name in names:
                sums.setdefault(name, []).append(value)
    return {name: 100 * sum(values) / len(values) for name, values in sums.items()}


@pytest.mark.parametrize(("batch_size", "memory"), [(7, 2**12), (64, 2**28)])
def test_evaluate_equals_a_slow_loop(signs, data, tasks, subset_class, slow, batch_size, memory):
    result = evaluate(signs, subset_class(data, *tasks), "test", batch_size=batch_size, memory=memory, workers=0)
    for task, told in zip(tasks, result.content["tasks"], strict=True):
        expected = slow_metrics(slow, signs, task, data)
        assert told["name"] == task.name
        assert told["metrics"] == pytest.approx(expected, abs=1e-9)
        assert (told["queries"], told["gallery"]) == (len(task.queries), len(task.gallery))
        for name, value in told["metrics"].items():
            low, high = told["intervals"][name]
            assert 0 <= low <= value <= high <= 100


def test_ties_are_counted_and_warned_about(signs, data, tasks, subset_class, slow):
    task = tasks[0]
    result = evaluate(signs, subset_class(data, task), "test", workers=0)
    tied = 0
    for query in task.queries:
        order = slow(signs, task, data, query, [i for i in task.gallery if i != query.reference])
        own = next(score for score, image_id in order if image_id in query.targets)
        tied += any(score == own and image_id not in query.targets for score, image_id in order)
    assert tied > 0
    assert result.content["tasks"][0]["tied"] == tied
    rows = result.queries.filter(np.array(result.queries["method"]) == "signs")
    assert sum(t > 0 for t in rows["ties"].to_pylist()) == tied
    assert any("signs" in warning and f"signs {tied}" in warning for warning in result.content["warnings"])


def test_a_constant_scorer_gets_a_warning(tiny, data, tasks, subset_class):
    class Constant(Method):
        name = "constant"

        def encode_gallery(self, images):
            return torch.tensor([[[1.0, 0.0]]]).expand(len(images), 1, 2)

        def encode_reference(self, images):
            return self.encode_gallery(images)

        def compose(self, reference, texts):
            return reference

    result = evaluate(Constant(tiny), subset_class(data, *tasks), "test", workers=0)
    for task in tasks:
        assert any(
            w.startswith(f"{task.name}: constant hardly tells pictures apart") for w in result.content["warnings"]
        )
    assert not any("slerp hardly" in warning for warning in result.content["warnings"])


def test_rows_hold_every_query_of_every_method(signs, data, tasks, subset_class):
    result = evaluate(signs, subset_class(data, *tasks), "test", workers=0, flip=1)
    assert result.methods == ["signs", "image-only", "text-only", "sum", "slerp"]
    assert result.queries.num_rows == 5 * sum(len(task.queries) for task in tasks)
    for task in tasks[:2]:
        run = rank(signs, task, data, flip=1)
        rows = result.queries.to_pylist()
        rows = [row for row in rows if (row["method"], row["task"]) == ("signs", task.name)]
        for i, (row, query) in enumerate(zip(rows, task.queries, strict=True)):
            assert (row["query"], row["reference"], tuple(row["targets"])) == (query.id, query.reference, query.targets)
            assert row["rank"] == min(run.target_ranks[i][: len(query.targets)])
            assert row["top"] == [task.gallery[g] for g in run.top[i]]
            assert row["scores"] == run.scores[i].tolist() == sorted(row["scores"], reverse=True)
            assert row["text"] == task.wording.texts(query)[0]
            assert tuple(row["aspects"]) == query.aspects
            if row["rank"] <= len(row["top"]):
                assert row["top"][row["rank"] - 1] in query.targets
            assert row["Rs@1"] is None if task is tasks[1] else row["Rs@1"] == float(row["subset_rank"] == 1)
            if task is tasks[1]:
                assert (row["mAP@10/odd"] is None) == ("odd" not in query.aspects)
                assert row["Recall@5"] == float(run.target_ranks[i, 0] <= 5)


def test_nothing_is_encoded_twice(tiny, data, tasks, subset_class):
    images, texts = [], []
    hooks = [
        tiny.image.register_forward_pre_hook(lambda module, given: images.append(len(given[0]))),
        tiny.text.register_forward_pre_hook(lambda module, given: texts.append(len(given[0]))),
    ]
    try:
        evaluate(load_method("slerp", tiny), subset_class(data, *tasks), "test", workers=0)
    finally:
        for hook in hooks:
            hook.remove()
    needed = {i for t in tasks for i in t.gallery} | {q.reference for t in tasks for q in t.queries}
    assert sum(images) == len(needed) == 51  # four methods share the gallery, and it serves as references
    assert sum(texts) == sum(len(t.queries) for t in tasks)  # three of them read the texts
    assert "embed_text" not in vars(tiny)


def test_each_picture_is_decoded_once_for_methods_of_two_spaces(signs, data, tasks, subset_class):
    dataset, opened = subset_class(data, *tasks), []
    whole = type(dataset).image
    dataset.image = lambda image_id: opened.append(image_id) or whole(dataset, image_id)
    evaluate(signs, dataset, "test", workers=0)
    assert len(opened) == len(set(opened)) == 51


def test_baselines_equal_ranking_them_alone(signs, tiny, data, tasks, subset_class):
    tasks = tasks[1:3]
    result = evaluate(signs, subset_class(data, *tasks), "test", workers=0)
    for name in ("image-only", "text-only", "sum", "slerp"):
        for task in tasks:
            alone = rank(load_method(name, tiny), task, data).ranks
            rows = [r for r in result.queries.to_pylist() if (r["method"], r["task"]) == (name, task.name)]
            # Batches differ, and with them the last bits: neighbours may swap.
            assert np.abs(np.array([row["rank"] for row in rows]) - alone).max() <= 1


def test_both_orders_are_composed_and_averaged(tiny, data, tasks, subset_class):
    method = load_method("sum", tiny)
    task = replace(tasks[0], wording=Wording("both orders", "a photo that {text}"))
    result = evaluate(method, subset_class(data, task), "test", workers=0)
    assert all(text.count("a photo that") == 2 for text in result.queries["text"].to_pylist())
    images = torch.stack([method.transform("gallery")(data.image(i)) for i in task.gallery])
    with torch.inference_mode():
        gallery = method.encode_gallery(images)[:, 0]
        for query, told in zip(task.queries, result.queries["rank"].to_pylist(), strict=False):
            a, b = (c.strip(" .?,") for c in query.captions)
            reference = gallery[task.gallery.index(query.reference)][None, None]
            both = method.compose(
                reference.expand(2, 1, -1), [f"a photo that {a} and {b}", f"a photo that {b} and {a}"]
            )
            mean = both.mean(dim=0)[0]
            assert not torch.allclose(both[0], both[1])  # the order is heard
            scores = gallery @ (mean / mean.norm())
            scores[task.gallery.index(query.reference)] = -9
            target = task.gallery.index(query.targets[0])
            assert abs(int((scores > scores[target]).sum()) + 1 - told) <= 1


def test_the_table_says_what_each_query_is_ranked_among(signs, data, tasks, subset_class):
    told = table(evaluate(signs, subset_class(data, tasks[0], tasks[2]), "test", workers=0))
    dropped, own = (line for line in told.splitlines() if " queries, " in line)
    assert dropped.endswith("gallery 42 (style photo, 64 px, seed 3), reference dropped")
    assert own.endswith(" queries, each with candidates of its own, its reference never among them")


def test_averages_are_means_over_tasks_with_an_interval(signs, data, tasks, subset_class):
    dataset = subset_class(data, tasks[0], replace(tasks[3], metrics=("R@1", "R@5")))
    dataset.averages = {"R@5": ("R@5",), "Avg": ("R@1", "R@5")}
    content = evaluate(signs, dataset, "test", workers=0).content
    for scores in (content, *content["baselines"].values()):
        means = [[task["metrics"][name] for name in ("R@1", "R@5")] for task in scores["tasks"]]
        assert scores["average"]["R@5"] == pytest.approx((means[0][1] + means[1][1]) / 2)
        assert scores["average"]["Avg"] == pytest.approx(np.mean(means))
        for name, (low, high) in scores["average_intervals"].items():
            assert low <= scores["average"][name] <= high
    dataset.averages = {"Avg": ("R@7",)}
    with pytest.raises(ComposirError, match=r"R@7, which a task lacks"):
        evaluate(signs, dataset, "test", workers=0)


def test_the_protocol_says_what_the_numbers_depend_on(signs, data, tasks, subset_class):
    content = evaluate(signs, subset_class(data, *tasks), "test", workers=0, options={"seed": 3}, flip=2).content
    json.dumps(content, allow_nan=False)
    p = content["protocol"]
    assert (p["data"], p["split"], p["controls"], p["partial"]) == ("subset", "test", {"flip": 2}, False)
    assert [t["name"] for t in p["tasks"]] == [t.name for t in tasks]
    assert [t["drop_reference"] for t in p["tasks"]] == [True, True, False, False]
    assert [t["own_candidates"] for t in p["tasks"]] == [False, False, True, False]
    assert [t["caption_join"] for t in p["tasks"]] == ["and", "and", "and", "reversed"]
    assert p["tasks"][3]["gallery"]["size"] == 30
    ids = [t["gallery"]["ids"] for t in p["tasks"]]
    assert ids[0] == ids[2] != ids[3]
    assert p["tasks"][0]["gallery"]["name"] == "style photo, 64 px, seed 3"
    sizes = {key: p["preprocessing"]["gallery"][key] for key in ("size", "mean", "flip")}
    assert sizes == {"size": signs.backbone.image_size, "mean": list(signs.transform("gallery").mean), "flip": False}
    assert p["backbone"]["name"] == "clip-tiny"
    assert p["gallery_key"] == signs.gallery_key()
    assert p["weights"].startswith("sha256:")
    assert p["baselines"]["slerp"] == {"alpha": 0.8}
    assert p["missing"]["images"] == p["missing"]["queries"] == 0
    assert content["data"] == {"name": "subset", "root": None, "split": "test", "arguments": {"seed": 3}}


def test_the_preprocessing_of_both_sides_is_told(signs, data, tasks, subset_class, monkeypatch):
    own = signs.transform
    other = replace(own("reference"), mean=(0.1, 0.2, 0.3))
    monkeypatch.setattr(type(signs), "transform", lambda _, side: other if side == "reference" else own(side))
    p = evaluate(signs, subset_class(data, tasks[3]), "test", workers=0).content["protocol"]["preprocessing"]
    assert p["reference"]["mean"] == [0.1, 0.2, 0.3] != p["gallery"]["mean"] == list(own("gallery").mean)


def test_the_weights_hash_hears_every_tensor(tiny, data, tasks, subset_class):
    dataset = subset_class(data, tasks[3])
    before = evaluate(load_method("sum", tiny), dataset, "test", workers=0).content["protocol"]
    weight = next(tiny.text.parameters())
    with torch.no_grad():
        weight[0, 0] += 1
    try:
        after = evaluate(load_method("sum", tiny), dataset, "test", workers=0).content["protocol"]
    finally:
        with torch.no_grad():
            weight[0, 0] -= 1
    assert before["weights"] != after["weights"]
    assert before["gallery_key"] == after["gallery_key"]


def test_slerp_beside_a_method_takes_the_alpha_of_the_data_set(tiny, data):
    protocol = evaluate(load_method("sum", tiny), data, "val", workers=0).content["protocol"]
    assert protocol["baselines"] == {"image-only": {}, "text-only": {}, "slerp": {"alpha": ALPHA["wardrobe"]}}
    protocol = evaluate(load_method("slerp", tiny, alpha=0.25), data, "val", workers=0).content["protocol"]
    assert protocol["method"]["arguments"] == {"alpha": 0.25}
    assert "slerp" not in protocol["baselines"]


def test_what_cannot_be_evaluated_is_refused(signs, tiny, data, tasks, subset_class):
    with pytest.raises(ComposirError, match=r"unknown split of wardrobe: 'tets'; did you mean 'test'"):
        evaluate(signs, data, "tets")
    with pytest.raises(ComposirError, match=r"'sum' takes no 'alpha'; it takes no control"):
        evaluate(load_method("sum", tiny), data, "val", alpha=0.3)
    with pytest.raises(ComposirError, match=r"'signs' takes no 'alpha'; it takes flip"):
        evaluate(signs, data, "val", alpha=0.3)
    hidden = replace(tasks[0], hidden=True)
    with pytest.raises(DataError, match=r"targets of subset test are not public.*composir submit"):
        evaluate(signs, subset_class(data, hidden), "test")
    with pytest.raises(DataError, match=r"subset test asks no queries \(it is empty\), so no method can"):
        evaluate(signs, subset_class(data), "test")
    with pytest.raises(DataError, match=r"subset test: families holds no queries"):
        evaluate(signs, subset_class(data, replace(tasks[0], queries=())), "test")
    with pytest.raises(ComposirError, match=r"subset: query .*its target .* is not in the gallery; mend"):
        evaluate(signs, subset_class(data, replace(tasks[0], gallery=tasks[0].gallery[:5])), "test", workers=0)


def test_the_authors_name_of_a_split_and_what_the_data_set_notes(signs, data, tasks, subset_class):
    dataset = subset_class(data, tasks[0])
    dataset.aliases, dataset.notes = {"exam": "test"}, lambda split: [f"of {split} something is left out"]
    content = evaluate(signs, dataset, "exam", workers=0).content
    assert content["protocol"]["split"] == content["data"]["split"] == "test"
    assert content["warnings"][-1] == "of test something is left out"


def test_a_gallery_that_is_known_in_part_is_refused_or_stamped(signs, data, tasks, subset_class):
    dataset = subset_class(data, tasks[0])
    dataset.unlisted = lambda split: f"the list of {split} is missing"
    with pytest.raises(DataError, match=r"subset test: the list of test is missing; --partial"):
        evaluate(signs, dataset, "test", workers=0)
    content = evaluate(signs, dataset, "test", workers=0, partial=True).content
    assert content["protocol"]["partial"]
    assert all(task["partial"] for task in content["tasks"])
    assert content["warnings"][0].startswith(
        "partial: 0 pictures are missing and 0 queries were left out; the list of test is missing; "
    )


def test_a_query_without_a_subset_is_told(signs, data, tasks, subset_class):
    task = replace(tasks[0], queries=(replace(tasks[0].queries[0], subset=()),), metrics=("Rs@1",))
    with pytest.raises(ComposirError, match=r"query .* has no subset to be ranked in, and .* asks for Rs@K"):
        evaluate(signs, subset_class(data, task), "test", workers=0)


def test_a_method_that_is_called_as_a_baseline_keeps_apart_from_it(signs, data, tasks, subset_class):
    result = evaluate(signs, subset_class(data, tasks[0]), "test", workers=0, label="sum")
    assert result.methods == ["sum (evaluated)", "image-only", "text-only", "sum", "slerp"]
    assert len(set(result.queries["method"].to_pylist())) == 5


def test_rows_without_an_answer_beyond_the_candidates(signs, data, tasks):
    task = replace(
        tasks[2], queries=(tasks[2].queries[0], replace(tasks[2].queries[1], subset=tasks[2].queries[1].subset[:4]))
    )
    short = replace(task.queries[1], subset=tuple({*task.queries[1].subset, task.queries[1].targets[0]}))
    task = replace(task, queries=(task.queries[0], short))
    rows = rows_of("signs", task, rank(signs, task, data), {}).to_pylist()
    for row, query in zip(rows, task.queries, strict=True):
        assert sorted(row["top"]) == sorted(set(query.subset) - {query.reference})
        assert len(row["scores"]) == len(row["top"])


def test_wardrobe_is_evaluated_as_it_comes(tiny):
    content = evaluate(load_method("text-only", tiny), Wardrobe(train=6, val=60, test=6), workers=0).content
    assert [task["name"] for task in content["tasks"]] == ["families", "concepts"]
    assert content["average"] == {}
