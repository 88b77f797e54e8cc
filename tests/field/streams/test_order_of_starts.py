"""A tree of a run's steps can be built in the order of `seq`: what is inside a block comes after the block."""

import itertools
from collections.abc import Sequence

import pytest

from studio.contracts.base import JsonObject, utc_now
from studio.contracts.events import NewEvent, run_started
from studio.contracts.runs import block_of
from tests.support.platform import Engine
from workflows.outbox import Outbox


def ask(step_id: str) -> JsonObject:
    return {"id": step_id, "agent": {"message": "Hello."}}


def each(step_id: str, step: JsonObject, items: int = 3) -> JsonObject:
    return {"id": step_id, "parallel": {"for_each": list(range(items)), "do": step}}


def both(step_id: str, *branches: JsonObject) -> JsonObject:
    return {"id": step_id, "parallel": {"branches": list(branches)}}


def chain(step_id: str, *steps: JsonObject) -> JsonObject:
    return {"id": step_id, "sequential": {"steps": list(steps)}}


def twice(step_id: str, *steps: JsonObject) -> JsonObject:
    return {"id": step_id, "loop": {"max_iterations": 2, "until": "${{ iteration == 1 }}", "do": list(steps)}}


def early(events: Sequence[NewEvent]) -> list[str]:
    """What was published before the run, or the step around it, began."""
    begun, found = set[str](), list[str]()
    for event in events:
        if event.type in {"run.started", "step.started"}:
            begun.add(event.step_id or "")
        places = [""] if event.step_id is None else ["", block_of(event.step_id)]
        if event.type == "step.succeeded":
            places.append(event.step_id or "")
        found += [f"{event.type} {event.step_id}" for place in places if place not in begun]
    return found


class TestOnTemporal:
    @pytest.mark.parametrize(
        ("steps", "calls"),
        [
            ([each("fetch", chain("one", both("pick", ask("a"), ask("b"))))], 6),
            ([both("top", ask("a"), both("in", ask("b"), ask("c")), each("m", ask("d")))], 6),
            ([each("m", {"id": "child", "workflow": "inner"}, 2), ask("last")], 7),
            (
                [
                    {
                        "id": "l",
                        "loop": {
                            "max_iterations": 2,
                            "until": "${{ iteration == 1 }}",
                            "do": [both("p", ask("a"), ask("b"))],
                        },
                    }
                ],
                4,
            ),
        ],
        ids=["for_each of a block", "blocks beside calls", "child workflows", "a loop"],
    )
    async def test_nothing_comes_before_what_it_is_inside_of(
        self, engine: Engine, steps: list[JsonObject], calls: int
    ) -> None:
        inner = {"pattern": "sequential", "steps": [both("p", ask("a"), chain("d", both("q", ask("b"), ask("c"))))]}
        handle = await engine.start(steps, workflows={"inner": inner})
        await handle.result()
        events = await engine.events(handle.id)
        assert early(events) == []
        started = [event for event in events if event.type == "step.started"]
        assert len(started) == len({event.step_id for event in started})
        assert len([one for one in started if one.data["kind"] == "agent"]) == calls
        run = await engine.run(handle.id)
        assert run.temporal.run_id is not None


class TestTheOutbox:
    def test_calls_that_begin_together_may_publish_in_any_order(self) -> None:
        for order in itertools.permutations(["f/one[0]/p/a", "f/one[0]/p/b", "f/one[1]/p/a", "f/one[1]/p/b"]):
            given = self._begin_all()
            assert early(_published([given[path] for path in order])) == []

    def test_what_was_surely_published_is_not_carried_again(self) -> None:
        outbox = Outbox()
        _put(outbox, "p", "p/a", "p/b", "p/c")
        first, second = _given(outbox, "p/a"), _given(outbox, "p/b")
        assert [event.step_id for event in first] == [None, "p", "p/a"]
        assert [event.step_id for event in second] == [None, "p", "p/b"]
        outbox.settle("p/b", published=True)
        assert [event.step_id for event in _given(outbox, "p/c")] == ["p/c"]

    def test_what_a_call_that_never_ran_was_given_goes_out_with_the_next(self) -> None:
        outbox = Outbox()
        _put(outbox, "p", "p/a", "p/b")
        _given(outbox, "p/a")
        outbox.settle("p/a", published=False)
        assert [event.step_id for event in _given(outbox, "p/b")] == [None, "p", "p/a", "p/b"]

    def test_what_is_published_at_once_is_carried_until_it_is_published(self) -> None:
        outbox = Outbox()
        _put(outbox, "p", "p/a")
        outbox.begin("p/a")
        assert [event.step_id for event in outbox.take_at_once()] == [None, "p", "p/a"]
        _start(outbox, "p/b")
        assert [event.step_id for event in _given(outbox, "p/b")] == [None, "p", "p/b"]
        outbox.settle_at_once()
        outbox.settle("p/b", published=True)
        _start(outbox, "p/c")
        assert [event.step_id for event in _given(outbox, "p/c")] == ["p/c"]

    def _begin_all(self) -> dict[str, list[NewEvent]]:
        outbox = Outbox()
        calls = [f"f/one[{item}]/p/{branch}" for item in range(2) for branch in "ab"]
        _put(outbox, "f", "f/one[0]", "f/one[0]/p", *calls[:2], "f/one[1]", "f/one[1]/p", *calls[2:])
        return {path: _given(outbox, path) for path in calls}


def _start(outbox: Outbox, path: str) -> None:
    outbox.put(NewEvent(ts=utc_now(), type="step.started", step_id=path))
    if path[-1] in "abc":
        outbox.await_start(path)


def _put(outbox: Outbox, *paths: str) -> None:
    outbox.put(run_started(utc_now()))
    for path in paths:
        _start(outbox, path)


def _given(outbox: Outbox, path: str) -> list[NewEvent]:
    outbox.begin(path)
    return outbox.hand_to(path)


def _published(batches: Sequence[Sequence[NewEvent]]) -> list[NewEvent]:
    """As the stream takes them: each key once."""
    kept: dict[str | None, NewEvent] = {}
    for event in itertools.chain.from_iterable(batches):
        kept.setdefault(event.key(), event)
    return list(kept.values())
