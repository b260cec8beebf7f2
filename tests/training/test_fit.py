"""The loop: optimiser, schedules, groups, accumulation, precision, and what stops it."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch

from composir.backbones.clip import ClipBackbone
from composir.errors import ComposirError
from composir.methods import load_method
from composir.methods.contrastive import Contrastive
from composir.training import NotFiniteError, fit
from composir.training.fit import SKIPS
from composir.training.schedule import factor


def warmup_cosine(step, steps, warmup):
    return factor("cosine", step, steps, warmup)


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


PRECISIONS = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_layers_compute_in_the_precision_that_is_named(method, precision):
    """Their outputs are of its type; weights, moments and the loss stay single."""
    seen: dict[str, set[torch.dtype]] = {}
    for module in method.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            own = seen.setdefault(type(module).__name__, set())
            module.register_forward_hook(lambda _, __, out, own=own: own.add(out.dtype))
    steps = fit(method, [batch()], steps=1, lr=1e-3, precision=precision)
    next(steps)
    assert seen == {"Linear": {PRECISIONS[precision]}, "Conv2d": {PRECISIONS[precision]}}
    assert {p.dtype for p in method.parameters()} == {torch.float32}
    assert {own["exp_avg"].dtype for own in steps.adam.state.values()} <= {torch.float32}


def test_fp16_scales_the_loss_and_leaves_out_what_overflows(method):
    """The scale begins at 2^16, which is too much here: the first steps change nothing, and each halves it."""
    before = [p.clone() for p in method.parameters()]
    steps = fit(method, [batch()] * 15, steps=15, lr=3e-3, precision="fp16")
    scaler = steps.accelerator.scaler
    assert scaler.is_enabled()
    told = next(steps)
    assert scaler.get_scale() == 2.0**15
    assert all(torch.equal(a, b) for a, b in zip(before, method.parameters(), strict=True))
    losses = [told.losses["loss"], *(s.losses["loss"] for s in steps)]
    assert losses[-1] < 0.8 * losses[0]
    assert 1 < scaler.get_scale() < 2.0**15


def test_fp16_clips_the_gradient_and_not_the_scaled_one(method):
    """Of the first step that is not left out; without betas Adam's state is the gradient."""
    steps = fit(method, [batch()] * 15, steps=15, lr=0.0, betas=(0.0, 0.0), clip=0.1, precision="fp16")
    while not steps.adam.state:
        next(steps)
    taken = [own["exp_avg"] for own in steps.adam.state.values()]
    assert float(torch.nn.utils.get_total_norm(taken)) == pytest.approx(0.1, rel=1e-4)


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


# ---- optimisers, groups, accumulation ----


def rates(method, **options) -> list[list[float]]:
    steps = fit(method, [batch()] * 6, steps=6, lr=1e-3, warmup=3, **options)
    return [[group["lr"] for group in steps.adam.param_groups] for _ in steps]


class Grouped(Contrastive):
    """The text tower at ten times the rate, its last layer at a hundred times and constant."""

    def parameter_groups(self, weight_decay):
        last = list(self.backbone.text.text_projection.parameters())
        text = [p for p in self.backbone.text.parameters() if all(p is not q for q in last)]
        rest = [*self.backbone.image.parameters(), self.backbone.logit_scale]
        return [
            {"params": rest, "weight_decay": weight_decay},
            {"params": text, "weight_decay": 0.0, "lr_scale": 10.0},
            {"params": last, "weight_decay": 0.0, "lr_scale": 100.0, "schedule": "constant"},
        ]


@pytest.mark.parametrize("schedule", ["cosine", "linear", "onecycle", "constant"])
def test_groups_have_their_rates(schedule):
    method = Grouped(ClipBackbone.tiny())
    steps = fit(method, [batch()] * 6, steps=6, lr=1e-3, warmup=3, schedule=schedule)
    for step in steps:
        now = 1e-3 * factor(schedule, step.number - 1, 6, 3)
        assert step.lr == pytest.approx(now)
        assert [g["lr"] for g in steps.adam.param_groups] == pytest.approx([now, 10 * now, 0.1])


def test_a_constant_group_moves_by_its_constant_rate():
    """Adam's first step is lr * sign(gradient): a tenth, although the run warms up over a hundred steps."""
    method = Grouped(ClipBackbone.tiny())
    before = {name: p.detach().clone() for name, p in method.named_parameters()}
    next(fit(method, [batch()], steps=100, lr=1e-3, warmup=100, weight_decay=0.0))
    moved = {name: (p.detach() - before[name]).abs().median() for name, p in method.named_parameters()}
    assert moved["backbone.text.text_projection.weight"] == pytest.approx(0.1, rel=1e-3)
    assert moved["backbone.image.visual_projection.weight"] == pytest.approx(1e-5, rel=1e-2)


def test_adam_decays_within_the_gradient(method):
    """Decay changes the first step of Adam only by sign, that of AdamW by lr * decay * weight."""
    weights = {}
    for optimizer in ("adam", "adamw"):
        fresh = copy.deepcopy(method)
        steps = fit(fresh, [batch()], steps=1, lr=1e-3, weight_decay=0.5, optimizer=optimizer)
        next(steps)
        assert type(steps.adam).__name__.lower() == optimizer
        weights[optimizer] = fresh.backbone.image.visual_projection.weight.detach()
    start = method.backbone.image.visual_projection.weight.detach()
    for optimizer, expected in (("adam", start), ("adamw", start * (1 - 1e-3 * 0.5))):
        off = (weights[optimizer] - expected).abs() - 1e-3
        assert off.abs().quantile(0.9) < 1e-6, optimizer  # where the gradient is not lost in Adam's epsilon


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_accumulated_gradients_are_those_of_the_mean_loss(method, precision):
    """Two batches a step, against the mean of both by hand; without clipping and betas Adam's state is the gradient."""
    both = [batch(0), batch(1)]
    steps = fit(method, [*both, *both], steps=2, lr=0.0, accumulate=2, clip=0.0, betas=(0.0, 0.0), precision=precision)
    other = copy.deepcopy(method).train()
    told = next(steps)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        losses = [other.loss(each)["loss"] for each in both]
    ((losses[0] + losses[1]) / 2).backward()
    assert told.losses["loss"] == pytest.approx(sum(loss.item() for loss in losses) / 2, rel=1e-5)
    exact = {"atol": 2e-6} if precision == "no" else {"atol": 1e-2, "rtol": 2e-2}
    for (name, mine), its in zip(method.named_parameters(), other.parameters(), strict=True):
        assert torch.allclose(steps.adam.state[mine]["exp_avg"], its.grad, **exact), name
    assert len(list(steps)) == 1


def test_batches_that_fill_no_step_are_left(method):
    assert len(list(fit(method, [batch()] * 5, steps=10, lr=1e-3, accumulate=2))) == 2


class GradientBreaks(Contrastive):
    """The loss is finite, its gradient is not: the square root of nothing."""

    def loss(self, batch):
        losses = super().loss(batch)
        scale = self.backbone.logit_scale
        return {"loss": losses["loss"] + (scale - scale.detach()).abs().sqrt()}


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_gradient_that_is_not_finite_stops_too(clip):
    method = GradientBreaks(ClipBackbone.tiny())
    before = [p.clone() for p in method.parameters()]
    with pytest.raises(
        NotFiniteError, match="the gradient's norm is nan at step 1; the batch begins with picture-0"
    ) as caught:
        next(fit(method, [batch()], steps=1, lr=1e-3, clip=clip))
    assert caught.value.ids == batch()["ids"]
    assert all(torch.equal(a, b) for a, b in zip(before, method.parameters(), strict=True))


def halved(method, batches, **options) -> fit:
    return fit(method, batches, steps=len(batches), lr=1e-3, precision="fp16", **options)


@pytest.mark.parametrize("clip", [0.0, 1.0])
def test_a_gradient_that_no_scale_mends_stops_half_precision(clip):
    method = GradientBreaks(ClipBackbone.tiny())
    before = [p.clone() for p in method.parameters()]
    steps = halved(method, [batch(i) for i in range(SKIPS + 5)], clip=clip)
    assert [next(steps).number for _ in range(SKIPS - 1)] == list(range(1, SKIPS))
    told = rf"half precision has left out {SKIPS} steps in a row, is nan at step {SKIPS}; the batch begins with pict"
    with pytest.raises(NotFiniteError, match=told) as caught:
        next(steps)
    assert caught.value.ids == batch()["ids"]
    assert steps.done == SKIPS - 1
    assert all(torch.equal(a, b) for a, b in zip(before, method.parameters(), strict=True))


class Overflows(Contrastive):
    """Its gradient is not finite in all steps but every fifteenth, more often in a row than any scale asks for."""

    seen = 0

    def loss(self, batch):
        self.seen += 1
        losses = super().loss(batch)
        scale = self.backbone.logit_scale
        return losses if self.seen % 15 == 0 else {"loss": losses["loss"] + (scale - scale.detach()).abs().sqrt()}


def test_steps_that_half_precision_leaves_out_now_and_then_do_not_stop_it():
    method = Overflows(ClipBackbone.tiny())
    before = copy.deepcopy(method)
    assert len(list(halved(method, [batch()] * (2 * SKIPS)))) == 2 * SKIPS
    assert any(not torch.equal(a, b) for a, b in zip(before.parameters(), method.parameters(), strict=True))


# ---- activation checkpointing ----


def test_recomputed_activations_give_the_same_weights_and_are_not_kept(method):
    kept = {}
    results = {}
    for again in (False, True):
        fresh = copy.deepcopy(method)
        sizes: list[int] = []

        def pack(tensor, sizes=sizes):
            sizes.append(tensor.numel())
            return tensor

        torch.manual_seed(0)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            list(fit(fresh, [batch()], steps=1, lr=1e-3, checkpointing=again))
        kept[again], results[again] = sum(sizes), fresh
        assert not any("forward" in vars(module) for module in fresh.modules())
    assert kept[True] < 0.7 * kept[False]
    for one, other in zip(results[False].parameters(), results[True].parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_checkpointing_needs_a_method_that_names_modules(method):
    method.checkpointing = ()
    with pytest.raises(ComposirError, match="'contrastive' names no modules for activation checkpointing"):
        next(fit(method, [batch()], steps=1, lr=1e-3, checkpointing=True))
