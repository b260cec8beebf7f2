"""Schedule, loop, batches of pairs, and a whole run on a handful of drawn garments."""

from __future__ import annotations

import copy
import itertools
import json
import math
import sys

import pytest
import torch

from composir.backbones import load_backbone
from composir.backbones.clip import ClipBackbone
from composir.config import RunConfig, TrainConfig, load_config
from composir.datasets import load_dataset
from composir.errors import ComposirError, DataError, UnknownNameError
from composir.methods import load_method
from composir.methods.contrastive import Contrastive
from composir.training import fit, run
from composir.training.fit import warmup_cosine
from composir.training.pairs import PairBatches, decoded, shifted
from composir.training.run import METRICS, build_backbone, caption_scores
from composir.types import Pair

RUN_MODULE = sys.modules["composir.training.run"]  # by attribute it is the function of that name

# ---- the schedule ----


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        (0, 1 / 4), (1, 2 / 4), (3, 1.0),  # a rise that starts above 0 and reaches the peak
        (4, 1.0), (9, 0.5 * (1 + math.cos(math.pi * 5 / 10))), (14, 0.0), (99, 0.0),
    ],
)  # fmt: skip
def test_schedule_by_hand(step, factor):
    assert warmup_cosine(step, steps=14, warmup=4) == pytest.approx(factor, abs=1e-12)


def test_schedule_rises_then_falls_and_never_ends_at_0_before_the_end():
    factors = [warmup_cosine(step, 50, 10) for step in range(50)]
    assert factors[:10] == sorted(factors[:10])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert max(factors) == 1
    assert min(factors) > 0


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 1), (3, 3), (3, 9)])
def test_schedule_of_short_runs_is_finite(steps, warmup):
    assert all(0 < warmup_cosine(step, steps, warmup) <= 1 for step in range(steps))


# ---- fit ----


def batch(seed: int = 0, count: int = 8) -> dict:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, 1, 1), generator=generator, dtype=torch.uint8).expand(-1, -1, 32, 32)
    return {
        "ids": [f"picture-{i}" for i in range(count)],
        "texts": [f"number {i}" for i in range(count)],
        "pixels": pixels,
    }


@pytest.fixture
def method() -> Contrastive:
    made = load_method("contrastive", ClipBackbone.tiny())
    assert isinstance(made, Contrastive)
    return made


def test_fit_reduces_the_loss_and_tells_every_step(method):
    steps = list(fit(method, [batch()] * 12, steps=12, lr=3e-3, warmup=2))
    assert [step.number for step in steps] == list(range(1, 13))
    assert [step.lr for step in steps] == pytest.approx([3e-3 * warmup_cosine(i, 12, 2) for i in range(12)])
    assert set(steps[0].losses) == {"loss", "scale"}
    assert all(isinstance(value, float) for step in steps for value in step.losses.values())
    assert steps[-1].losses["loss"] < 0.8 * steps[0].losses["loss"]


def test_one_step_is_adamw_with_decoupled_decay_on_matrices(method):
    """Against torch's AdamW driven by hand: same gradient, clipped, same groups."""
    other = copy.deepcopy(method)
    list(fit(method, [batch()], steps=10, lr=1e-2, weight_decay=0.5, warmup=5, betas=(0.8, 0.9), clip=0.1))
    other.train().loss(batch())["loss"].backward()
    norm = math.sqrt(sum(float((p.grad**2).sum()) for p in other.parameters() if p.grad is not None))
    assert norm > 0.1, "nothing would be clipped"
    for name, parameter in other.named_parameters():
        # Adam's first step is lr * g / (|g| + eps): the norm matters only through eps. 1e-2 / 5 is the first of 5.
        gradient = parameter.grad * (0.1 / norm)
        rate, decay = 1e-2 / 5, 0.5 if parameter.ndim >= 2 else 0.0
        expected = parameter.detach() * (1 - rate * decay) - rate * gradient / (gradient.abs() + 1e-8)
        sure = gradient.abs() > 1e-6  # below, rounding of the gradient decides
        got = dict(method.named_parameters())[name].detach()
        assert torch.allclose(got[sure], expected[sure], atol=1e-4 * rate)


def test_fit_without_clipping_differs_where_it_matters(method):
    """Adam forgives the scale of a constant gradient, not of one whose scale varies."""
    losses = {}
    for clip in (0.0, 1e-8):
        fresh = copy.deepcopy(method)
        losses[clip] = [s.losses["loss"] for s in fit(fresh, [batch(i) for i in range(3)], steps=3, lr=1e-3, clip=clip)]
    assert losses[0.0] != losses[1e-8]


def test_fit_ends_with_the_schedule_and_takes_no_batch_too_many(method):
    taken = itertools.count()
    endless = (batch(next(taken)) for _ in itertools.count())
    assert len(list(fit(method, endless, steps=3, lr=1e-3))) == 3
    assert next(taken) == 3


def test_fit_ends_with_the_batches(method):
    assert len(list(fit(method, [batch()] * 2, steps=10, lr=1e-3))) == 2


def test_the_caller_may_evaluate_between_steps(method):
    modes = []
    for _ in fit(method, [batch()] * 3, steps=3, lr=1e-3):
        modes.append(method.training)
        method.eval()
    assert modes == [True] * 3


def test_equal_seeds_fit_equally(method):
    other = copy.deepcopy(method)
    for each in (method, other):
        torch.manual_seed(3)
        list(fit(each, [batch(1), batch(2)], steps=2, lr=1e-3))
    assert all(torch.equal(a, b) for a, b in zip(method.parameters(), other.parameters(), strict=True))


class BrokenAt(Contrastive):
    """Its loss is not finite at one step."""

    def __init__(self, backbone, value=math.nan, step=2):
        super().__init__(backbone)
        self.value, self.step, self.seen = value, step, 0

    def loss(self, batch):
        self.seen += 1
        losses = super().loss(batch)
        return losses if self.seen < self.step else {"loss": losses["loss"] * self.value}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_and_names_the_batch(value):
    method = BrokenAt(ClipBackbone.tiny(), value)
    steps = fit(method, [batch(0), batch(1)], steps=5, lr=1e-3)
    next(steps)
    before = [p.clone() for p in method.parameters()]
    with pytest.raises(ComposirError) as caught:
        next(steps)
    assert f"the loss is {value} at step 2; the batch begins with picture-0, picture-1, " in str(caught.value)
    assert all(torch.equal(a, b) for a, b in zip(before, method.parameters(), strict=True)), "the weights are spoilt"


def test_nothing_to_train_is_refused():
    slerp = load_method("slerp", ClipBackbone.tiny())
    with pytest.raises(ComposirError, match="'slerp' has nothing to train"):
        list(fit(slerp, [batch()], steps=1, lr=1e-3))
    slerp.requires_grad_(False)
    with pytest.raises(ComposirError, match="'slerp' has no trainable parameter; it trains on 'nothing'"):
        list(fit(slerp, [batch()], steps=1, lr=1e-3))


def test_precisions_one_after_the_other_in_one_process(method):
    """accelerate keeps the first precision of a process, and its traces on the method; neither may reach the next."""
    results = {}
    for number, precision in enumerate(("no", "bf16", "bf16", "no")):
        fresh = copy.deepcopy(method)
        results[number] = [s.losses["loss"] for s in fit(fresh, [batch()] * 3, steps=3, lr=1e-3, precision=precision)]
    assert results[0] == results[3]
    assert results[1] == results[2]
    assert results[0] != results[1]
    # bfloat16 keeps 8 bits: logits of up to 14 times a cosine are off by some hundredths.
    assert results[1] == pytest.approx(results[0], abs=0.2)


def test_stages_with_one_method_after_the_other(method):
    """The second fit of a method is not the first one's wrapper: in bfloat16 first, then exactly as a fresh copy."""
    list(fit(method, [batch()], steps=1, lr=1e-3, precision="bf16"))
    assert not {"forward", "_original_forward", "_is_accelerate_prepared"} & set(vars(method))
    fresh = load_method("contrastive", ClipBackbone.tiny(seed=7))
    fresh.load_state_dict(method.state_dict())
    one, other = ([s.losses for s in fit(m, [batch()] * 2, steps=2, lr=1e-3)] for m in (method, fresh))
    assert one == other


def test_a_fit_that_is_left_early_leaves_no_trace(method):
    steps = fit(method, [batch()] * 3, steps=3, lr=1e-3, precision="bf16")
    next(steps)
    steps.close()
    assert not {"forward", "_original_forward", "_is_accelerate_prepared"} & set(vars(method))


def test_fp16_trains_too(method):
    """With the loss scaled, and without a warning for a step that overflows and is left out."""
    losses = [s.losses["loss"] for s in fit(method, [batch()] * 12, steps=12, lr=3e-3, precision="fp16")]
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < losses[0]


def test_a_precision_the_machine_cannot_do_is_explained(method, monkeypatch):
    def refuse(**_):
        raise ValueError("bf16 mixed precision requires a supported device")

    monkeypatch.setattr("accelerate.Accelerator", refuse)
    with pytest.raises(ComposirError, match="precision 'bf16' is not possible here: bf16 mixed precision requires"):
        list(fit(method, [batch()], steps=1, lr=1e-3, precision="bf16"))


def test_accelerate_missing_is_explained(method, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "accelerate", None)
    with pytest.raises(ComposirError, match=r"pip install 'composir\[train\]'"):
        list(fit(method, [batch()], steps=1, lr=1e-3))


def test_frozen_parts_stay_to_the_last_bit():
    method = load_method("contrastive", ClipBackbone.tiny())
    method.backbone.text.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    list(fit(method, [batch()] * 3, steps=3, lr=1e-2, weight_decay=0.5))
    changed = {name for name, tensor in method.state_dict().items() if not torch.equal(before[name], tensor)}
    assert changed == {name for name, _ in method.named_parameters() if not name.startswith("backbone.text.")}


# ---- batches of pairs ----


def pairs(count: int, captions: int = 3) -> list[Pair]:
    return [Pair(f"id{i}", f"id{i}", tuple(f"{i}/{c}" for c in range(captions))) for i in range(count)]


def config(**changes) -> TrainConfig:
    return TrainConfig(**{"epochs": 1, "batch_size": 4, "lr": 1.0, **changes})


def numbered(count: int) -> torch.Tensor:
    """Pictures whose value is their number."""
    return torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).contiguous()


def epochs(count: int, **changes) -> list[list[dict]]:
    made = PairBatches(pairs(count), numbered(count), config(**changes))
    return [list(made.epoch(number)) for number in range(3)]


def equal(one: dict, other: dict) -> bool:
    return (one["ids"], one["texts"]) == (other["ids"], other["texts"]) and torch.equal(one["pixels"], other["pixels"])


@pytest.mark.parametrize("changes", [{}, {"block": 3, "block_share": 1.0}, {"shift": 1, "flip": True}])
def test_same_seed_same_batches(changes):
    first, again, other = (epochs(13, seed=seed, **changes) for seed in (5, 5, 6))
    flat = [[b for epoch in run_ for b in epoch] for run_ in (first, again, other)]
    assert all(equal(a, b) for a, b in zip(flat[0], flat[1], strict=True))
    assert not all(equal(a, b) for a, b in zip(flat[0], flat[2], strict=True))
    assert [b["ids"] for b in first[0]] != [b["ids"] for b in first[1]], "every epoch has the same order"


@pytest.mark.parametrize("changes", [{}, {"block": 3, "block_share": 1.0}, {"block": 5, "block_share": 0.5}])
@pytest.mark.parametrize("count", [4, 13, 16])
def test_each_pair_once_an_epoch_and_the_rest_left_out(count, changes):
    for epoch in epochs(count, **changes):
        ids = [i for b in epoch for i in b["ids"]]
        assert len(epoch) == count // 4
        assert all(len(b["ids"]) == 4 for b in epoch)
        assert len(set(ids)) == len(ids) == count // 4 * 4
        assert set(ids) <= {f"id{i}" for i in range(count)}


def test_texts_and_pictures_belong_to_the_ids():
    drawn = set()
    for b in itertools.chain(*epochs(13)):
        for place, image_id in enumerate(b["ids"]):
            number, caption = b["texts"][place].split("/")
            assert f"id{number}" == image_id
            assert (b["pixels"][place] == int(number)).all()
            drawn.add(caption)
    assert drawn == {"0", "1", "2"}


def test_every_caption_is_drawn_equally_often():
    made = PairBatches(pairs(100, captions=4), numbered(100), config(batch_size=100))
    drawn = [text.split("/")[1] for number in range(40) for text in next(made.epoch(number))["texts"]]
    # 4,000 draws at 1/4: deviation 27.
    assert all(abs(drawn.count(caption) - 1000) < 5 * 27 for caption in "0123")


def test_blocks_stay_together():
    made = PairBatches(pairs(24), numbered(24), config(batch_size=6, block=3, block_share=1.0))
    order = made.order(torch.Generator().manual_seed(0), blocks=True)
    assert sorted(order.tolist()) == list(range(24))
    assert all(b - a == 1 and a % 3 == 0 for a, b in order.view(8, 3)[:, :2].tolist())
    assert order.tolist() != list(range(24))
    for number in range(3):
        for b in made.epoch(number):
            numbers = [int(i[2:]) for i in b["ids"]]
            assert all(numbers[i : i + 3] == list(range(numbers[i], numbers[i] + 3)) for i in (0, 3))


def test_a_last_block_that_is_not_full_stays_within_the_data():
    made = PairBatches(pairs(14), numbered(14), config(block=5, block_share=1.0))
    assert sorted(made.order(torch.Generator().manual_seed(1), blocks=True).tolist()) == list(range(14))


def test_share_of_epochs_with_blocks():
    made = PairBatches(pairs(60), numbered(60), config(batch_size=60, block=6, block_share=0.3))
    count = 0
    for number in range(200):
        numbers = [int(i[2:]) for i in next(made.epoch(number))["ids"]]
        count += all(b - a == 1 for i in range(0, 60, 6) for a, b in itertools.pairwise(numbers[i : i + 6]))
    # 200 draws at 0.3: deviation 6.5.
    assert abs(count - 60) < 4 * 6.5


def test_all_configured_epochs_follow_each_other():
    made = PairBatches(pairs(13), numbered(13), config(epochs=3))
    whole = list(made)
    assert len(whole) == 3 * made.steps == 9
    assert all(equal(a, b) for a, b in zip(whole, itertools.chain(*epochs(13)), strict=True))


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ComposirError, match=r"batch_size 4 is larger than the data \(3 pairs\)"):
        PairBatches(pairs(3), numbered(3), config())


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("reach", [0, 1, 3, 9])
def test_shifted_is_the_loop(reach, flip):
    """Every output must be one of the pictures a slow loop makes for some shift, and all shifts occur."""
    size = 5
    picture = torch.randint(0, 256, (3, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    allowed = {}
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            for mirrored in (False, True) if flip else (False,):
                made = torch.empty_like(picture)
                for y in range(size):
                    for x in range(size):
                        seen = size - 1 - x if mirrored else x
                        made[:, y, x] = picture[:, min(max(y + down, 0), size - 1), min(max(seen + right, 0), size - 1)]
                allowed[made.numpy().tobytes()] = (down, right, mirrored)
    many = shifted(picture.expand(3000, -1, -1, -1), reach, flip, torch.Generator().manual_seed(1))
    got = {row.numpy().tobytes() for row in many}
    assert got <= set(allowed)
    # 3000 draws from at most 722 outcomes, of which those beyond the edge repeat: nearly all must occur.
    assert len(got) >= 0.95 * len(allowed)


def test_every_second_picture_is_mirrored():
    ramp = torch.arange(4, dtype=torch.uint8).view(1, 1, 1, 4).expand(2000, 3, 4, 4)
    mirrored = (shifted(ramp, 0, True, torch.Generator().manual_seed(0))[:, 0, 0, 0] == 3).sum()
    assert abs(int(mirrored) - 1000) < 5 * 22  # binomial deviation 22


def test_decoded_is_the_transform_of_each_picture():
    dataset = load_dataset("wardrobe", train=12, val=6, test=6)
    transform, done = ClipBackbone.tiny().transform(), []
    ids = [p.image for p in dataset.pairs("train")]
    store = decoded(dataset, ids, transform, workers=0, tick=done.append)
    assert store.dtype == torch.uint8
    assert all(
        torch.equal(row, torch.from_numpy(transform.pixels(dataset.image(i))))
        for row, i in zip(store, ids, strict=True)
    )
    assert done == [12]
    with pytest.raises(DataError, match="train-99999-0"):
        decoded(dataset, [*ids, "train-99999-0"], transform, workers=0)


# ---- a whole run ----

RUN = """
[backbone]
name = "scratch"
image_size = 16
patch_size = 8
image_width = 16
image_layers = 1
image_heads = 2
text_width = 16
text_layers = 1
text_heads = 2
dim = 8
context = 40
vocab_size = 540

[method]
name = "contrastive"

[data]
name = "wardrobe"
train = 48
val = 18
test = 6

[train]
epochs = 3
batch_size = 16
lr = 2e-3
workers = 0
"""


@pytest.fixture
def load(tmp_path):
    def load(*overrides: str) -> RunConfig:
        path = tmp_path / "tiny.toml"
        path.write_text(RUN, encoding="utf-8")
        return load_config(path, overrides)

    return load


def test_run_from_end_to_end(load, tmp_path):
    lines: list[str] = []
    config, folder = load("train.seed=4"), tmp_path / "runs" / "tiny"
    report = run(config, folder, say=lines.append)
    assert {p.name for p in folder.iterdir()} == {"config.toml", "log.jsonl", "backbone", "report.json"}
    assert load_config(folder / "config.toml") == config
    assert json.loads((folder / "report.json").read_text()) == report
    assert (report["run"], report["steps"]) == ("tiny", 9)
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    validations = [row for row in rows if "val" in row]
    assert [row["epoch"] for row in validations] == [1, 2, 3]
    assert [row["step"] for row in validations] == [3, 6, 9]
    assert [row["number"] for row in rows if "number" in row] == [1]
    assert all(set(row["val"]) == set(METRICS) for row in validations)
    assert report["best"] == max(validations, key=lambda row: row["val"]["caption R@1"])
    assert len(lines) == 4
    assert "caption R@1" in lines[1]
    # The same number again from the saved weights; they are stored in half precision, and 18 pictures are few.
    dataset = load_dataset("wardrobe", train=48, val=18, test=6)
    method = load_method("slerp", load_backbone(str(folder / "backbone")))
    val = dataset.pairs("val")
    scores = caption_scores(method, val, decoded(dataset, [p.image for p in val], method.transform("gallery"), 0))
    assert scores["R@10"] == pytest.approx(report["best"]["val"]["caption R@10"], abs=100 / 18 + 1e-9)


def test_run_keeps_the_best_weights_and_not_the_last(load, tmp_path, monkeypatch):
    told = iter([30.0, 90.0, 50.0])
    saved = []
    monkeypatch.setattr(RUN_MODULE, "caption_scores", lambda *_: dict.fromkeys(("R@1", "R@5", "R@10"), next(told)))
    monkeypatch.setattr(RUN_MODULE, "_save", lambda backbone, folder: saved.append(folder))
    report = run(load(), tmp_path / "out", say=lambda _: None)
    assert report["best"]["epoch"] == 2
    assert len(saved) == 2


def test_validation_every_second_epoch_and_at_the_end(load, tmp_path):
    run(load("eval.every=2"), tmp_path / "out", say=lambda _: None)
    rows = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows if "val" in row] == [2, 3]


def test_runs_of_one_seed_are_equal(load, tmp_path):
    rows = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(load(f"train.seed={seed}", "train.epochs=1"), tmp_path / name, say=lambda _: None)
        read = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        rows.append([{key: row[key] for key in row.keys() - {"seconds"}} for row in read])
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


def test_a_second_run_into_the_same_folder_is_refused(load, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "report.json").write_text("{}")
    with pytest.raises(ComposirError, match="already holds a finished run"):
        run(load(), tmp_path / "out")
    assert (tmp_path / "out" / "report.json").read_text() == "{}"


def test_a_run_that_was_cut_off_may_be_started_again(load, tmp_path):
    (tmp_path / "out" / "backbone").mkdir(parents=True)
    (tmp_path / "out" / "log.jsonl").write_text("half a li")
    run(load("train.epochs=1"), tmp_path / "out", say=lambda _: None)
    assert load_backbone(str(tmp_path / "out" / "backbone")).dim == 8


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("eval.metric=caption R@2", r"unknown metric in \[eval\] 'caption R@2'; did you mean 'caption R@"),
        ("method.name=slerp", "'slerp' trains on 'nothing'"),
        ("method.name=contrastiv", "did you mean 'contrastive'"),
        ("method.alfa=1", "'alfa'; did you mean 'alpha'"),
        ("method.alpha=2.0", r"alpha = 2\.0 is outside 0\.\.1"),
        ("data.name=wardrobes", "did you mean 'wardrobe'"),
        ("data.size=3", "unknown argument of data set 'wardrobe': 'size'"),
        ("data.val=5", "val has 5 garments"),
        ("backbone.name=clip-tny", "did you mean 'clip-tiny'"),
        ("backbone.name=scrach", "did you mean 'scratch'"),
        ("backbone.width=3", "unknown argument of backbone 'scratch': 'width'"),
        ("backbone.seed=3", "unknown argument of backbone 'scratch': 'seed'"),
        ("train.batch_size=49", r"batch_size 49 is larger than the data \(48 pairs\)"),
    ],
)
def test_what_is_wrong_is_said_before_training(load, tmp_path, override, message, monkeypatch):
    monkeypatch.setattr(RUN_MODULE, "fit", lambda *_, **__: pytest.fail("training began"))
    with pytest.raises(ComposirError, match=message):
        run(load(override), tmp_path / "out")


def test_a_loaded_backbone_takes_only_its_own_arguments(load):
    config = load("backbone.name=clip-tiny")
    with pytest.raises(UnknownNameError, match="unknown argument of backbone 'clip-tiny': 'image_size'"):
        build_backbone(config, [])


def test_scratch_needs_its_sizes(load):
    config = load()
    less = config.model_copy(update={"backbone": type(config.backbone)(name="scratch", image_size=16)})
    with pytest.raises(ComposirError, match="backbone 'scratch' needs patch_size, image_width"):
        build_backbone(less, ["a text"])


@torch.no_grad()
def test_caption_scores_are_the_loop():
    """Each caption against every picture, ranks by counting who is ahead."""
    dataset = load_dataset("wardrobe", train=12, val=18, test=6)
    val = dataset.pairs("val")
    method = load_method("slerp", ClipBackbone.tiny(seed=2))
    pixels = decoded(dataset, [p.image for p in val], method.transform("gallery"), workers=0)
    images = method.encode_gallery(method.transform("gallery").normalise(pixels))[:, 0]
    for caption in (0, 2):
        texts = method.encode_text([p.captions[caption] for p in val])[:, 0]
        ranks = [1 + sum(float(t @ g) > float(t @ images[i]) for g in images) for i, t in enumerate(texts)]
        got = caption_scores(method, val, pixels, caption=caption, batch_size=5)
        assert got == {f"R@{k}": pytest.approx(100 * sum(r <= k for r in ranks) / 18) for k in (1, 5, 10)}


def test_caption_scores_put_the_method_into_eval_mode():
    dataset = load_dataset("wardrobe", train=12, val=6, test=6)
    method = load_method("slerp", ClipBackbone.tiny()).train()
    val = dataset.pairs("val")
    caption_scores(method, val, decoded(dataset, [p.image for p in val], method.transform("gallery"), workers=0))
    assert not method.training
