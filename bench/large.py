"""Runs of many no-op steps on Temporal, against as many activities called by a workflow written by hand."""

from dataclasses import dataclass
from itertools import pairwise

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from bench.engines import FLOOR, Engines, Start, history, together, with_engines
from bench.hand_written import Calls
from bench.harness import Measurement, median
from bench.shapes import LAYER, chain, layered, mapped, rounds

ROUNDS = 3
LENGTHS = {10: 15, 100: 5, 1000: ROUNDS}
"""How many steps, and how often: the shorter, the more a busy moment weighs."""
LONGEST = max(LENGTHS)
EDGE = 100
"""How many steps at either end of the longest sequence are set against each other."""
SCHEDULED = EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
History = list[HistoryEvent]


@dataclass(frozen=True)
class Shape:
    name: str
    steps: int
    ours: Start
    floor: Start


def measure() -> list[Measurement]:
    return with_engines(_measure)


async def _measure(engines: Engines) -> list[Measurement]:
    rows: list[Measurement] = []
    await together(engines.ours(chain(10)), 10)  # caches
    for steps, times in LENGTHS.items():
        shape = Shape(f"{steps} steps in sequence", steps, engines.ours(chain(steps)), engines.floor(Calls(steps)))
        ours, floor = await _histories(shape, times)
        rows.append(_step_time(shape, ours, floor))
        if steps == LONGEST:
            rows += [_flatness("ours", ours), _flatness("written by hand", floor)]
    for shape in _shapes(engines):
        rows += _whole(shape, *await _histories(shape, ROUNDS))
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


async def _histories(shape: Shape, times: int) -> tuple[list[History], list[History]]:
    """Of runs of ours and of the floor, in turns, so that a busy moment of the machine meets both."""
    pairs = [(await history(shape.ours), await history(shape.floor)) for _ in range(times)]
    return [ours for ours, _ in pairs], [floor for _, floor in pairs]


def _seconds(histories: list[History]) -> float:
    return median([_moment(events[-1]) - _moment(events[0]) for events in histories])


def _moment(event: HistoryEvent) -> float:
    return event.event_time.ToDatetime().timestamp()


def _step_time(shape: Shape, ours: list[History], floor: list[History]) -> Measurement:
    took, plain = (_seconds(histories) / shape.steps * 1000 for histories in (ours, floor))
    name = f"{shape.name}, time of a step"
    return Measurement(name, "ms", took, plain, FLOOR, "lower", "ratio at most 1.15", took <= 1.15 * plain)


def _flatness(whose: str, histories: list[History]) -> Measurement:
    """How long it took from one call's scheduling to the next one's."""
    first: list[float] = []
    last: list[float] = []
    for events in histories:
        scheduled = [_moment(event) for event in events if event.event_type == SCHEDULED]
        took = [(later - earlier) * 1000 for earlier, later in pairwise(scheduled)]
        first += took[:EDGE]
        last += took[-EDGE:]
    early, late = median(first), median(last)
    name = f"the last {EDGE} of {LONGEST:,} steps, p50, {whose}"
    goal = "ratio at most 1.05"
    return Measurement(name, "ms", late, early, f"the first {EDGE}", "lower", goal, late <= 1.05 * early)


def _whole(shape: Shape, ours: list[History], floor: list[History]) -> list[Measurement]:
    sizes = [_bytes(histories[-1]) / shape.steps for histories in (ours, floor)]
    counts = [len(histories[-1]) / shape.steps for histories in (ours, floor)]
    of_a_step = f"{shape.name}, history of a step"
    return [
        Measurement(shape.name, "s", _seconds(ours), _seconds(floor), FLOOR, "lower"),
        Measurement(of_a_step, "bytes", sizes[0], sizes[1], FLOOR, "lower"),
        Measurement(of_a_step, "events", counts[0], counts[1], FLOOR, "lower"),
    ]


def _bytes(events: History) -> int:
    return sum(event.ByteSize() for event in events)
