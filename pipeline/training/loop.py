"""The loop over the iterations, and what is done beside them: state, tracking, progress, faults."""

import os
import time
from functools import partial
from typing import Any

from pipeline.common import memory
from pipeline.common.cli import Stopped
from pipeline.common.failures import memory_told
from pipeline.common.progress import Reporter
from pipeline.inputs.loader import Batch, Numbered, batches
from pipeline.tracking.runs import send
from pipeline.tracking.store import attempt
from pipeline.training.pace import Pace
from pipeline.training.state import Training
from pipeline.training.stop import on_sigterm

SAVE_SECONDS = float(os.environ.get("ANN_SAVE_SECONDS", "20"))
SAVE_PART = 50  # saving takes at most this part of the time
TRACK_SECONDS = float(os.environ.get("ANN_TRACK_SECONDS", "60"))
TRACK_PART = 100
TRACK_FIRST = 10 * TRACK_SECONDS  # MLflow takes seconds to be imported
FLUSH_ITERATIONS = 20  # how often losses come from the device and progress is shown


def fit(training: Training, record: dict[str, Any]) -> dict[str, Any]:
    """Train to the end; returns what it took: seconds, iterations, and the bytes of a step."""
    run, fabric = training.run, training.fabric
    total, at = run.train.iterations, training.start
    workers = 0 if fabric.device.type == "cpu" else min(8, (os.cpu_count() or 1) - 1)
    source = batches(
        Numbered(training.store, run.train.augment, run.seed),
        batch_size=run.train.batch_size,
        start=training.start,
        stop=total,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        workers=workers,
    )
    training.model.train()
    began, needed = time.monotonic(), 0
    saving = Pace(SAVE_SECONDS, SAVE_PART)
    sending = Pace(TRACK_SECONDS, TRACK_PART, TRACK_FIRST)
    title, shown = f"train {training.paths.name}", fabric.is_global_zero
    with (
        Reporter(title, total, training.start, shown) as reporter,
        memory_told(lambda: (too_large(training), at + 1)),
        on_sigterm() as stop,
    ):
        for at, batch in enumerate(source, training.start):
            second = at == training.start + 1  # the first one also sets the libraries up
            before = memory.start_peak(run.device) if second else 0
            training.step(at, Batch(*(t.to(fabric.device, non_blocking=True) for t in batch)))
            if second:
                needed = max(0, memory.peak(run.device) - before)
            done, flush = at + 1, (at + 1) % FLUSH_ITERATIONS == 0
            save, ends = saving.due() and done < total, stop.asked
            if fabric.world_size > 1:  # then all stop at once, or those that go on wait for ever
                ends = flush and bool(fabric.all_reduce(training.losses.new_tensor(ends), "sum"))
            if save or ends or flush or done == total:
                rate = (done - training.start) / (time.monotonic() - began)
                reporter.update(done, f"loss {training.checked_loss(done):.3f}, {rate:.1f} it/s")
            if save or (ends and done < total):
                with saving.timed():
                    training.save(done)
            if ends and done < total:
                raise Stopped(f"{training.paths.name}: stopped at iteration {done} of {total}")
            if sending.due() and fabric.is_global_zero:
                with sending.timed():
                    attempt(partial(send, record, training.curve(done)))
    return {
        "seconds": round(time.monotonic() - began, 2),
        "iterations": total - training.start,
        "saving_seconds": round(saving.spent, 3),
        "tracking_seconds": round(sending.spent, 3),
        "peak_bytes": needed,
        "memory_by": memory.counted_by(run.device),
    }


def too_large(training: Training) -> str:
    """What to say where a step does not fit into the memory."""
    run = training.run
    share = run.train.batch_size // run.world_size
    at_once = min(share, run.train.micro_batch or share)
    height, width = run.train.augment.crop
    less = f"train.micro_batch to {at_once // 2}, or " if at_once > 1 else ""
    return (
        f"{training.paths.name} ran out of memory on {run.device} with {at_once} samples of "
        f"{height}x{width} at once; lower {less}train.augment.crop"
    )
