"""Loop over the iterations; beside them save the state, track, show progress and report faults."""

import os
import time
from functools import partial
from threading import Thread

from pipeline.data.samples.loader import NumberedSamples, count_bytes, load_batches
from pipeline.data.samples.workers import choose_workers
from pipeline.engine import memory
from pipeline.engine.errors import Stopped
from pipeline.engine.failures import convert_memory_errors, convert_unrepeatable
from pipeline.engine.processes import sum_over_processes
from pipeline.engine.progress import Reporter
from pipeline.settings.records import RunStart, Speed
from pipeline.tracking.runs import Rows, send
from pipeline.tracking.store import send_beside
from pipeline.training.pace import Pace
from pipeline.training.state import Training
from pipeline.training.stop import catch_sigterm

SAVE_SECONDS = float(os.environ.get("ANN_SAVE_SECONDS", "20"))
SAVE_PART = 50  # saving takes at most 1 / this of the time
TRACK_SECONDS = float(os.environ.get("ANN_TRACK_SECONDS", "60"))
TRACK_PART = 100
TRACK_FIRST = 10 * TRACK_SECONDS  # because importing MLflow takes seconds
FLUSH_ITERATIONS = 20  # between two reads of the losses from the device, which progress shows


def fit(training: Training, record: RunStart) -> Speed:
    """Train to the last iteration; return the time and the memory that it took.

    Raises:
        Stopped: A signal asked to stop; the state is saved.
    """
    run, fabric = training.run, training.fabric
    total, at = run.train.iterations, training.start
    samples = NumberedSamples(training.store, run.train.augment, run.seed, training.cached)
    share = run.train.batch_size // fabric.world_size
    workers, note = choose_workers(fabric.device, lambda: share * count_bytes(samples[0]))
    if note:
        fabric.print(note)
    source = load_batches(
        samples,
        batch_size=run.train.batch_size,
        start=training.start,
        stop=total,
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        workers=workers,
    )
    training.model.train()
    start, peak = time.monotonic(), 0
    saving = Pace(SAVE_SECONDS, SAVE_PART)
    sending = Pace(TRACK_SECONDS, TRACK_PART, TRACK_FIRST)
    sender: Thread | None = None
    title, is_leader = f"train {training.paths.name}", fabric.is_global_zero
    with (
        Reporter(title, total, training.start, is_leader) as reporter,
        convert_memory_errors(lambda: (describe_too_large(training), at + 1)),
        convert_unrepeatable(training.paths.name),
        catch_sigterm() as stop,
    ):
        for at, batch in enumerate(source, training.start):
            measures_memory = at == training.start + 1  # the first step also sets the libraries up
            before = memory.reset_peak(run.device) if measures_memory else 0
            training.step(at, batch.to(fabric.device))
            if measures_memory:
                peak = max(0, memory.read_peak(run.device) - before)
            done, flush = at + 1, (at + 1) % FLUSH_ITERATIONS == 0
            save, stops = saving.is_due() and done < total, stop.is_requested
            if fabric.world_size > 1:  # all must stop together, or the others wait for ever
                stops = flush and bool(
                    sum_over_processes(fabric, training.losses.new_tensor(stops))
                )
            if save or stops or flush or done == total:
                rate = (done - training.start) / (time.monotonic() - start)
                reporter.update(
                    done, f"loss {training.read_finite_loss(done):.3f}, {rate:.1f} it/s"
                )
            if save or (stops and done < total):
                with saving.count_time():
                    training.save(done)
            if stops and done < total:
                raise Stopped(f"{training.paths.name}: stopped at iteration {done} of {total}")
            if sending.is_due() and fabric.is_global_zero and not (sender and sender.is_alive()):
                sender = send_beside(partial(_send_curve, sending, record, training.curve(done)))
    return Speed(
        seconds=round(time.monotonic() - start, 2),
        iterations=total - training.start,
        saving_seconds=round(saving.seconds_spent, 3),
        tracking_seconds=round(sending.seconds_spent, 3),
        peak_bytes=peak,
        memory_by=memory.name_method(run.device),
    )


def _send_curve(pace: Pace, record: RunStart, curve: Rows) -> None:
    """Send a run's curve to MLflow, and count the time."""
    with pace.count_time():
        send(record, curve)


def describe_too_large(training: Training) -> str:
    """Return a sentence for a step that does not fit into the memory."""
    run = training.run
    share = run.train.batch_size // run.world_size
    at_once = min(share, run.train.micro_batch or share)
    height, width = run.train.augment.crop
    less = f"train.micro_batch to {at_once // 2}, or " if at_once > 1 else ""
    return (
        f"{training.paths.name} ran out of memory on {run.device} with {at_once} samples of "
        f"{height}x{width} at once; lower {less}train.augment.crop"
    )
