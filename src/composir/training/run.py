"""A run file in, a folder of results out: what `composir train` does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from composir import checkpoint
from composir.config import RunConfig
from composir.training.card import card
from composir.training.chance import kept_chance
from composir.training.fit import NotFiniteError, Step, accelerator_for, fit
from composir.training.folder import RunFolder
from composir.training.job import Job, Progress, Say, Watch, prepared
from composir.training.log import Log, event_writer
from composir.training.state import Saved, restore, save_state

LOGGED = 50  # steps between rows of the log
FITTED = (
    "lr", "optimizer", "schedule", "weight_decay", "warmup", "betas", "clip", "precision", "accumulate",
    "checkpointing",
)  # fmt: skip


def run(
    config: RunConfig, folder: Path, say: Say = print, *, resume: bool = False, watch: Watch = lambda _: None
) -> dict[str, Any]:
    """Train as the run file says; under `torchrun` every process calls this, and the first one writes.

    Args:
        config: The checked run file.
        folder: Made for the results; one that holds a finished run is refused.
        say: Hears one line for each validation.
        resume: Go on from the state that an unfinished run left in `folder`, from the beginning where there is none. On
            a CPU the result is then, to the last bit, that of a run that never stopped.
        watch: Told how far it is, often.

    Returns:
        The content of report.json: the row of the best validation, steps, seconds.

    Raises:
        ComposirError: Something in the run file does not fit what it names, or the data cannot be read.
        NotFiniteError: A loss or gradient is NaN or infinite; what led there is saved in folder/failed.
    """
    place = RunFolder(folder)
    saved = place.saved(config, resume)
    accelerator = accelerator_for(config.train.precision)
    main = accelerator.is_main_process
    if config.train.tensorboard:
        event_writer()
    job = prepared(config, accelerator, say if main else _silent, watch if main else _silent)
    first = saved.step if saved else 0
    steps = fit(
        job.method,
        job.batches.after(first),
        steps=job.steps,
        start=first,
        **{key: getattr(config.train, key) for key in FITTED},
    )
    if saved:
        restore(saved, steps)
        job.best, job.start = dict(saved.notes["best"]), job.start - saved.notes["seconds"]
        job.say(f"going on behind step {first} of {job.steps}")
    elif resume:
        job.say(f"{folder} holds no state to go on from: starting at the beginning")
    try:
        if main:
            _train(job, steps, place, saved)
        else:
            for step in steps:
                if _due(job, step) or _saved_between(job, step):
                    save_state(place.state, steps, {})  # gives its random numbers to the first
    except NotFiniteError as error:
        told = place.keep_failure(steps, error, {"best": job.best, "seconds": job.seconds})
        error.args = (f"{error}; the state before that step, and all these ids, are in {told}",)
        raise
    finally:
        steps.close()
    report = {"run": folder.name, "best": job.best, "steps": job.steps, "seconds": job.seconds}
    if main:
        place.finish(report)
    if accelerator.num_processes > 1:
        accelerator.end_training()
    return report


def _train(job: Job, steps: fit, place: RunFolder, saved: Saved | None) -> None:
    """All steps that are left, with their log, validations and states."""
    c = job.config
    place.begin(c)
    events = place.path / "tensorboard" if c.train.tensorboard else None
    log = Log(place.log, saved.notes["log"] if saved else 0, events, steps.start)
    if not saved and job.batches.failed:
        log.write({"skipped": {i: failure.detail or failure.reason for i, failure in job.batches.failed.items()}})
    try:
        for step in steps:
            if step.number % LOGGED == 0 or step.number == 1:
                log.write({**asdict(step), "seconds": job.seconds}, step.number)
            job.watch(Progress("training", step.number, job.steps, f"loss {step.losses['loss']:.3f}"))
            due = _due(job, step)
            if due:
                _validate(job, step, step.number // job.batches.steps, place, log)
            if due or _saved_between(job, step):
                notes = {"best": job.best, "seconds": job.seconds, "log": log.position()}
                save_state(place.state, steps, notes)
    finally:
        log.close()


def _due(job: Job, step: Step) -> bool:
    """Whether a validation follows."""
    epoch, inside = divmod(step.number, job.batches.steps)
    return not inside and (epoch % job.config.eval.every == 0 or step.number == job.steps)


def _saved_between(job: Job, step: Step) -> bool:
    """Whether a state follows though no validation may be due."""
    every = job.config.train.save_every
    return bool(every) and step.number % every == 0


def _validate(job: Job, step: Step, epoch: int, place: RunFolder, log: Log) -> None:
    """Score the weights as they are, and keep them."""
    with kept_chance():
        scores = job.validation()
    loss = step.losses["loss"]
    row = {"epoch": epoch, "step": step.number, "loss": loss, "seconds": job.seconds, "val": scores}
    log.write(row, step.number)
    metric = job.validation.metric
    shown = {name: score for name, score in scores.items() if name == metric or len(scores) <= 4}
    told = "  ".join(f"{name} {score:.2f}" for name, score in shown.items())
    job.say(f"epoch {epoch:3d}  loss {loss:.3f}  {told}  {job.seconds:.0f} s")
    about = {"arguments": job.config.method.arguments, "run": place.path.name, "step": step.number, "scores": scores}
    if not job.best or scores[metric] > job.best["val"][metric]:
        job.best = row
        checkpoint.save(place.best, job.method, **about)
        if any("backbone.".startswith(prefix) for prefix in job.method.tuned):
            place.keep_backbone(job.method.backbone)
        text = card(
            job.config, job.method, place.path.name, step=step.number, metric=metric, scores=scores, sizes=job.sizes
        )
        place.keep_card(text)
    checkpoint.save(place.last, job.method, **about)


def _silent(_: object) -> None:
    pass
