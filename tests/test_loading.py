"""Decoding ahead in worker processes: order, fixed shapes, bounded memory, and files that raise, kill, hang, gorge."""

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from composir.backbones.transform import Transform
from composir.errors import ComposirError, DataError
from composir.loading import Batch, Failure, default_workers, pixel_batches

PLAIN = Transform(32, "exact", 32, 3, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
RANDOM = Transform(32, "shortest", 32, 3, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), min_area=0.3, flip=True)


@pytest.fixture
def readers(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    import picture_readers

    return picture_readers


def numbers(batches: list[Batch]) -> list[int]:
    return [int(p[0, 0, 0]) + 256 * int(p[1, 0, 0]) for batch in batches for p in batch.pixels]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_order_shapes_and_ids(readers, workers):
    batches = list(pixel_batches(readers.slow_first, range(50), PLAIN, 8, workers))
    assert [len(b.pixels) for b in batches] == [8] * 6 + [2]
    assert all(b.pixels.dtype == torch.uint8 and b.pixels.shape[1:] == (3, 32, 32) for b in batches)
    assert numbers(batches) == [i for b in batches for i in b.ids] == list(range(50))


@pytest.mark.parametrize("workers", [0, 2])
def test_failures_are_collected_and_their_places_filled(readers, workers):
    batches = list(pixel_batches(readers.bad_thirds, range(31), PLAIN, 4, workers, on_error="collect"))
    assert [len(b.ids) for b in batches] == [4] * 5 + [0]  # the last holds but the failure met after the fifth
    assert [i for b in batches for i, _ in b.failures] == list(range(0, 31, 3))
    assert batches[0].failures[1][1] == Failure("ValueError", "number 3 is rotten")
    assert numbers(batches) == [i for i in range(31) if i % 3]


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_but_failures(readers, workers):
    [batch] = pixel_batches(readers.bad_thirds, [0, 3], PLAIN, 4, workers, on_error="collect")
    assert batch.ids == ()
    assert batch.pixels.shape == (0, 3, 32, 32)
    assert len(batch.failures) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_raising_names_the_file(readers, workers):
    with pytest.raises(DataError, match=r"^3: number 3 is rotten; mend or remove the file$"):
        list(pixel_batches(readers.bad_thirds, [1, 2, 3, 4], PLAIN, 4, workers))


@pytest.mark.parametrize("workers", [0, 2])
def test_no_ids_no_batches(readers, workers):
    assert list(pixel_batches(readers.colour, [], PLAIN, 4, workers)) == []


def test_a_picture_that_kills_its_worker_is_skipped(readers):
    batches = list(pixel_batches(readers.kills, range(12), PLAIN, 4, 2, on_error="collect"))
    assert [f for b in batches for f in b.failures] == [
        (5, Failure("crashes the decoder", "its decoding process ended with SIGSEGV, twice"))
    ]
    assert numbers(batches) == [i for i in range(12) if i != 5]


@pytest.mark.parametrize("reader", ["hangs", "spins"])
def test_a_picture_that_hangs_is_skipped_in_time(readers, reader):
    start = time.monotonic()
    batches = list(pixel_batches(getattr(readers, reader), range(12), PLAIN, 4, 1, on_error="collect", patience=0.5))
    told = "not decoded after 0.5 s of computing, or 3 s in all"
    assert [f for b in batches for f in b.failures] == [(5, Failure("too slow", told))]
    assert numbers(batches) == [i for i in range(12) if i != 5]
    assert time.monotonic() - start < 20


def test_a_picture_that_has_to_wait_is_decoded(readers):
    """A busy machine, or a slow disk, makes no picture bad."""
    batches = list(pixel_batches(readers.waits, range(8), PLAIN, 4, 1, patience=0.3))
    assert numbers(batches) == list(range(8))


def test_the_master_stops_a_hanging_worker_that_has_no_alarm_clock(readers, monkeypatch):
    monkeypatch.setattr("composir.loading.crew.SLACK", 0.1)
    batches = list(pixel_batches(readers.freezes, range(8), PLAIN, 4, 1, on_error="collect", patience=0.4))
    assert [f for b in batches for f in b.failures] == [
        (5, Failure("too slow", "not decoded after 0.4 s of computing, or 2.4 s in all"))
    ]


def test_a_picture_that_eats_memory_is_skipped(readers):
    batches = list(pixel_batches(readers.eats_memory, range(8), PLAIN, 4, 1, on_error="collect"))
    [(item, failure)] = [f for b in batches for f in b.failures]
    assert item == 5
    assert "Memory" in failure.reason


def test_an_innocent_picture_survives_the_death_of_its_worker(readers, tmp_path):
    ids = [(i, str(tmp_path / "mark")) for i in range(8)]
    batches = list(pixel_batches(readers.dies_once, ids, PLAIN, 4, 1))
    assert numbers(batches) == list(range(8))


def test_ids_are_read_at_most_two_batches_ahead(readers):
    read = itertools.count()
    batches = pixel_batches(readers.colour, (next(read) for _ in range(1000)), PLAIN, 4, 2)
    next(batches)
    assert next(read) <= 3 * 4 + 1
    batches.close()


def test_workers_know_no_transformers_and_step_back(readers):
    [batch] = pixel_batches(readers.tells_modules, [0], PLAIN, 1, 1)
    assert batch.pixels[0, 0].max() == 0
    assert batch.pixels[0, 1].max() >= 5


def test_no_process_is_left_when_the_consumer_stops_early(readers, tmp_path):
    ids = [str(tmp_path / f"{i}") for i in range(50)]
    batches = pixel_batches(readers.tells_pid, ids, PLAIN, 4, 2)
    next(batches)
    pids = {int(Path(i).read_text()) for i in ids[:4]}
    batches.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_random_transforms_repeat_whatever_the_workers(readers):
    runs = [
        torch.cat([b.pixels for b in pixel_batches(readers.noise, range(9), RANDOM, 4, workers, seed=seed)])
        for workers, seed in ((0, 1), (1, 1), (3, 1), (1, 2))
    ]
    assert torch.equal(runs[0], runs[1])
    assert torch.equal(runs[0], runs[2])
    assert not torch.equal(runs[0], runs[3])


def test_seeding_leaves_the_callers_generator_alone(readers):
    before = torch.random.get_rng_state()
    list(pixel_batches(readers.noise, range(3), RANDOM, 4, 0, seed=3))
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_reader_that_cannot_travel_is_explained():
    with pytest.raises(ComposirError, match="module-level function, or workers=0"):
        list(pixel_batches(lambda item: item, [1], PLAIN, 4, 1))


@pytest.mark.long
@pytest.mark.parametrize("guard", ["", "if __name__ == '__main__':\n    "])
def test_a_script_is_not_run_again_by_its_workers(readers, tmp_path, guard):
    """Without a guard too; only a reader that the script itself defines needs the script, hence the guard."""
    reader = "colour" if not guard else "mine"
    script = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from picture_readers import colour
from composir.backbones.transform import Transform
from composir.loading import pixel_batches

def mine(item):
    return colour(item)

open({str(tmp_path / "runs")!r}, "a").write(__name__ + " ")
{guard}print(sum(len(b.ids) for b in pixel_batches({reader}, range(9), Transform{tuple_of(PLAIN)}, 4, 2)))
"""
    (tmp_path / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stdout) == (0, "9\n"), done.stderr
    assert (tmp_path / "runs").read_text() == ("__main__ " if not guard else "__main__ __mp_main__ __mp_main__ ")


def tuple_of(transform: Transform) -> tuple:
    return (transform.size, transform.resize, transform.resize_to, transform.resample, transform.mean, transform.std)


def test_default_workers_are_as_many_as_cores_up_to_eight(monkeypatch):
    for cores, expected in ((1, 1), (2, 2), (4, 4), (64, 8)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)), raising=False)
        assert default_workers() == expected
