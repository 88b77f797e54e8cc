"""What came against what was expected."""

from decimal import Decimal
from typing import cast

from cli.testing.cases import Case, Expect, ExpectedError, ExpectedEvent, ExpectedStep
from studio.contracts.base import Contract, Json, JsonObject
from studio.contracts.events import NewEvent
from studio.contracts.runs import RunEnd
from studio.engine.memory_driver import MemoryRun


class Failure(Contract):
    """One thing that is not as expected. `expected` and `actual` are null when `message` says it all."""

    what: str
    """`output`, `steps.research/answer[0].status` and the like."""
    message: str = ""
    expected: Json = None
    actual: Json = None


def check(case: Case, run: MemoryRun) -> list[Failure]:
    expect, end = case.expect, run.end
    found = [*_status(expect, end), *_error(expect.error, end)]
    if "output" in expect.model_fields_set:
        found += _same("output", expect.output, end.output)
    if expect.path is not None:
        started = [event.step_id for event in run.events if event.type == "step.started"]
        found += _same("path", expect.path, started)
    for path, step in expect.steps.items():
        found += _step(path, step, end)
    if "cost_usd" in expect.model_fields_set:
        found += _same("cost_usd", _money(expect.cost_usd), _money(end.progress.cost_usd))
    if expect.usage is not None:
        actual = end.progress.usage.model_dump()
        for name, count in expect.usage.model_dump(exclude_unset=True).items():
            found += _same(f"usage.{name}", count, actual[name])
    return found + _events(expect.events, run.events)


def _same(what: str, expected: Json, actual: Json, message: str = "") -> list[Failure]:
    """Values are equal as JSON: `true` is not 1."""
    if equal(expected, actual):
        return []
    return [Failure(what=what, message=message, expected=expected, actual=actual)]


def equal(one: Json, other: Json) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        left, right = cast("JsonObject", one), cast("JsonObject", other)
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if isinstance(one, list) and isinstance(other, list):
        items, others = cast("list[Json]", one), cast("list[Json]", other)
        return len(items) == len(others) and all(map(equal, items, others))
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def holds(expected: Json, actual: Json) -> bool:
    """Whether `actual` has all that `expected` has: objects may have more fields, lists not more items."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        wanted, given = cast("JsonObject", expected), cast("JsonObject", actual)
        return all(key in given and holds(value, given[key]) for key, value in wanted.items())
    if isinstance(expected, list) and isinstance(actual, list):
        items, others = cast("list[Json]", expected), cast("list[Json]", actual)
        return len(items) == len(others) and all(map(holds, items, others))
    return equal(expected, actual)


def _status(expect: Expect, end: RunEnd) -> list[Failure]:
    expected = expect.status or ("succeeded" if expect.error is None else None)
    if expected is None or end.status == expected:
        return []
    error = end.error
    place = f" at {error.step_id}" if error and error.step_id else ""
    message = f"{error.type}{place}: {error.message}" if error else ""
    return [Failure(what="status", message=message, expected=expected, actual=end.status)]


def _error(expected: ExpectedError | None, end: RunEnd) -> list[Failure]:
    if expected is None:
        return []
    if end.error is None:
        wanted = expected.model_dump(exclude_unset=True)
        return [Failure(what="error", message="The run ended without an error.", expected=wanted)]
    found: list[Failure] = []
    given = expected.model_fields_set
    if "type" in given:
        found += _same("error.type", expected.type, end.error.type, end.error.message)
    if "step_id" in given:
        found += _same("error.step_id", expected.step_id, end.error.step_id)
    if expected.message is not None and expected.message not in end.error.message:
        found.append(Failure(what="error.message", expected=expected.message, actual=end.error.message))
    return found


def _step(path: str, expected: ExpectedStep, end: RunEnd) -> list[Failure]:
    step = next((step for step in end.progress.steps if step.id == path), None)
    if step is None:
        reached = ", ".join(step.id for step in end.progress.steps) or "none"
        return [Failure(what=f"steps.{path}", message=f"The run did not come to it. Steps were: {reached}")]
    found: list[Failure] = []
    for field in sorted(expected.model_fields_set):
        reason = step.error.message if step.error is not None and field == "status" else ""
        found += _same(f"steps.{path}.{field}", getattr(expected, field), getattr(step, field), reason)
    return found


def _events(expected: list[ExpectedEvent], events: list[NewEvent]) -> list[Failure]:
    rest = iter(events)
    for index, wanted in enumerate(expected):
        if not any(_is(wanted, event) for event in rest):
            came = [f"{event.type} {event.step_id or ''}".rstrip() for event in events]
            message = "It did not come after those before it."
            shown = wanted.model_dump(exclude_unset=True)
            return [Failure(what=f"events[{index}]", message=message, expected=shown, actual=came)]
    return []


def _is(wanted: ExpectedEvent, event: NewEvent) -> bool:
    fields = wanted.model_fields_set - {"data"}
    return all(getattr(wanted, field) == getattr(event, field) for field in fields) and holds(wanted.data, event.data)


def _money(cost: Decimal | None) -> str | None:
    """As the API writes it, without the zeros that say nothing."""
    return None if cost is None else f"{cost.normalize():f}"
