"""Runs of many no-op steps on Temporal, against as many activities called by a workflow written by hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from bench.engines import FLOOR, Engines, Start, history, together, with_engines
from bench.hand_written import Calls
from bench.harness import Measurement, median
from bench.shapes import LAYER, chain, layered, mapped, rounds

ROUNDS = 3
LENGTHS = (10, 100, 1000)
EDGE = 100
"""How many steps at either end of the longest sequence are set against each other."""


@dataclass(frozen=True)
class Shape:
    name: str
    steps: int
    ours: Start
    floor: Start


def measure() -> list[Measurement]:
    return with_engines(_measure)


async def _measure(engines: Engines) -> list[Measurement]:
    lengths = [
        Shape(f"{steps} steps in sequence", steps, engines.ours(chain(steps)), engines.floor(Calls(steps)))
        for steps in LENGTHS
    ]
    ours, floor = lengths[-1].ours, lengths[-1].floor
    await together(ours)
    await together(floor)
    rows = [await _step_time(shape) for shape in lengths]
    rows += [_flatness("ours", await history(ours)), _flatness("written by hand", await history(floor))]
    for shape in _shapes(engines):
        rows += await _whole(shape)
    return rows


def _shapes(engines: Engines) -> list[Shape]:
    return [
        Shape(
            "a map over 200, 50 at once",
            200,
            engines.ours(mapped(200, at_once=50)),
            engines.floor(Calls(200, at_once=50)),
        ),
        Shape("a loop of 300 rounds", 300, engines.ours(rounds(300)), engines.floor(Calls(300))),
        Shape(
            "a graph of 1,000 nodes and 3,000 edges",
            1000,
            engines.ours(layered(1000, 3000)),
            engines.floor(Calls(1000, at_once=LAYER)),
        ),
    ]


async def _times(shape: Shape) -> tuple[float, float]:
    """Seconds of ours and of the floor, in turns, so that a busy moment of the machine meets both."""
    pairs = [(await together(shape.ours), await together(shape.floor)) for _ in range(ROUNDS)]
    return median([ours for ours, _ in pairs]), median([floor for _, floor in pairs])


async def _step_time(shape: Shape) -> Measurement:
    ours, floor = (seconds / shape.steps * 1000 for seconds in await _times(shape))
    name = f"{shape.name}, time of a step"
    return Measurement(name, "ms", ours, floor, FLOOR, "lower", "ratio at most 1.15", ours <= 1.15 * floor)


def _flatness(whose: str, events: Sequence[HistoryEvent]) -> Measurement:
    """How long it took from one call's scheduling to the next one's."""
    scheduled = [
        event.event_time.ToDatetime().timestamp()
        for event in events
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
    ]
    took = [(later - earlier) * 1000 for earlier, later in pairwise(scheduled)]
    first, last = median(took[:EDGE]), median(took[-EDGE:])
    name = f"the last {EDGE} of {LENGTHS[-1]:,} steps, p50, {whose}"
    goal = "ratio at most 1.05"
    return Measurement(name, "ms", last, first, f"the first {EDGE}", "lower", goal, last <= 1.05 * first)


async def _whole(shape: Shape) -> list[Measurement]:
    ours, floor = await _times(shape)
    found, plain = await history(shape.ours), await history(shape.floor)
    sizes = [sum(event.ByteSize() for event in events) / shape.steps for events in (found, plain)]
    counts = [len(events) / shape.steps for events in (found, plain)]
    return [
        Measurement(shape.name, "s", ours, floor, FLOOR, "lower"),
        Measurement(f"{shape.name}, history of a step", "bytes", sizes[0], sizes[1], FLOOR, "lower"),
        Measurement(f"{shape.name}, history of a step", "events", counts[0], counts[1], FLOOR, "lower"),
    ]
