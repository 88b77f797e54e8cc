"""The pure core alone, without Temporal: the CPU time of folding an event, in large runs and in small ones."""

import time
from collections import deque
from datetime import UTC, datetime

from bench.harness import Measurement, median
from bench.shapes import chain, layered, mapped, rounds, waiting
from studio.contracts.definitions import ResolvedDefinition
from studio.engine.plan import compile_plan
from studio.engine.scheduler import advance
from studio.engine.state import (
    CoreEvent,
    EndRun,
    RunAgent,
    RunFacts,
    RunStarted,
    RunState,
    StepSucceeded,
    Tick,
    Ticked,
)

ROUNDS = 3
AT = datetime(2026, 1, 1, tzinfo=UTC)


def measure() -> list[Measurement]:
    shapes = [
        ("1,000 steps in sequence", chain(1000), "10 steps", chain(10)),
        ("a map over 10,000, 50 at once", mapped(10_000, 50), "a map over 50", mapped(50, 50)),
        ("a loop of 300 rounds", rounds(300), "10 rounds", rounds(10)),
        ("a graph of 1,000 nodes and 3,000 edges", layered(1000, 3000), "50 nodes, 75 edges", layered(50, 75)),
        ("a graph with 500 joins that wait", waiting(500), "10 joins", waiting(10)),
    ]
    return [_compare(*shape) for shape in shapes]


def _compare(name: str, large: ResolvedDefinition, small_name: str, small: ResolvedDefinition) -> Measurement:
    ours = median([_drive(large) for _ in range(ROUNDS)])
    floor = median([_drive(small) for _ in range(ROUNDS * 10)])
    return Measurement(f"{name}, an event", "µs", ours, floor, small_name, "lower")


def _drive(definition: ResolvedDefinition) -> float:
    """Microseconds of CPU an event of a run whose calls answer in the order in which they were made."""
    plan = compile_plan(definition.workflow, definition.agents)
    state = RunState(run=RunFacts(id="run"))
    events: deque[CoreEvent] = deque([RunStarted(AT)])
    spent, count, ended = 0.0, 0, False
    while not ended:
        event = events.popleft()
        began = time.process_time()
        state, commands = advance(plan, state, event)
        spent += time.process_time() - began
        count += 1
        for command in commands:
            match command:
                case RunAgent():
                    events.append(StepSucceeded(AT, command.path, "ok"))
                case Tick():
                    events.append(Ticked(AT))
                case EndRun():
                    ended = True
                case _:
                    pass  # to be published: nobody reads it here
    return spent / count * 1_000_000
