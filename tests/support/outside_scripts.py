"""Signals, decisions, pauses and limits, each with what comes from outside: run by both drivers in
`tests/workflows/test_parity.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from temporalio.client import Client

from studio.contracts.base import Json
from studio.contracts.interaction import ApprovalOutcome, DecideRequest, Decision, Resolution, ResolveRequest
from studio.contracts.runs import StepRun
from studio.contracts.waits import Limits
from studio.engine.state import (
    ApprovalDecided,
    LimitsChanged,
    PauseRequested,
    Request,
    ResumeRequested,
    SignalReceived,
    StepResolved,
)
from tests.support.child_scripts import sequence
from tests.support.parity_scripts import FAST, Answer, Script, agent, no
from workflows.names import DECIDE, LIMITS, PAUSE, RESOLVE, RESUME, child_workflow_id


@dataclass(frozen=True)
class Act:
    """Something from outside: in memory `after` some seconds, on Temporal as soon as the run looks like `once`: a
    step's status by its path, or under the empty path the run's own.
    """

    after: float
    once: tuple[str, str]
    what: Any
    """A signal's name and payload, a `Decision`, a `Resolution`, `Limits`, or the name of the signal that pauses or
    resumes."""
    path: str = ""
    """Of the step that is decided or resolved."""
    child: str = ""
    """Of the step whose child workflow it is sent to; paths are that workflow's own."""

    def request(self, start: datetime) -> Request:
        at = start + timedelta(seconds=self.after)
        path = f"{self.child}/{self.path}" if self.child else self.path
        match self.what:
            case Decision():
                return ApprovalDecided(at, path, self.what)
            case Resolution():
                return StepResolved(at, path, self.what)
            case Limits():
                return LimitsChanged(at, self.what)
            case (str(name), payload):
                return SignalReceived(at, name, payload)
            case _:
                return PauseRequested(at) if self.what == PAUSE else ResumeRequested(at)

    async def send(self, client: Client, run_id: str) -> None:
        handle: Any = client.get_workflow_handle(child_workflow_id(run_id, self.child) if self.child else run_id)
        match self.what:
            case Decision():
                request = DecideRequest(path=self.path, decision=self.what)
                await handle.execute_update(DECIDE, request, result_type=ApprovalOutcome)
            case Resolution():
                resolve = ResolveRequest(path=self.path, resolution=self.what)
                await handle.execute_update(RESOLVE, resolve, result_type=StepRun)
            case Limits():
                await handle.signal(LIMITS, self.what)
            case (str(name), payload):
                await handle.signal(name, payload)
            case _:
                await handle.signal(self.what)


@dataclass(frozen=True)
class OutsideScript:
    script: Script
    acts: Sequence[Act]


def listen(step_id: str, name: str, **wait: Json) -> dict[str, Any]:
    return {"id": step_id, "wait": {"signal": name, **wait}}


def approve(step_id: str, **approval: Json) -> dict[str, Any]:
    return {"id": step_id, "input": {"text": "draft"}, "approval": {"message": "Send it?", **approval}}


SIGNALS = OutsideScript(
    Script(
        steps=[
            agent("first", "take your time"),
            listen("before", "early"),
            listen("during", "late", timeout="1h"),
            {**listen("never", "never", timeout="300ms"), "on_error": "continue"},
            {"id": "c", "workflow": "inner"},
            {"id": "end", "transform": "${{ [steps.before.output, steps.during.output, steps.c.output] }}"},
        ],
        workflows={"inner": sequence(listen("inside", "deep"))},
        answers={"first": [Answer("1", after=1)]},
        says={"first": "take your time"},
    ),
    [
        Act(0.5, ("first", "running"), ("early", {"n": 1})),
        Act(2, ("during", "waiting"), ("late", "now")),
        Act(5, ("c/inside", "waiting"), ("deep", [1]), child="c"),
    ],
)
APPROVALS = OutsideScript(
    Script(
        steps=[
            approve("yes"),
            approve("no"),
            approve("edited", allow_edit=True),
            approve("nobody", timeout="300ms", on_timeout="approve"),
            approve(
                "late",
                timeout="200ms",
                on_timeout="escalate",
                escalation={
                    "to": "boss of ${{ steps.yes.output.by }}",
                    "timeout": "200ms",
                    "on_timeout": "approve",
                },
            ),
            {"id": "p", "parallel": {"branches": [{"id": "c", "workflow": "inner"}, agent("beside", "beside it")]}},
            {
                "id": "end",
                "transform": "${{ [steps.yes.output.decision, steps.no.output.comment, steps.edited.output.value, "
                "steps.nobody.output.timed_out, steps.late.output.decision, steps.p.output.c.by] }}",
            },
        ],
        workflows={"inner": sequence(approve("inside"))},
        answers={"p/beside": [Answer("beside")]},
        says={"p/beside": "beside it"},
    ),
    [
        Act(1, ("yes", "waiting"), Decision(decision="approve", by="ann"), path="yes"),
        Act(2, ("no", "waiting"), Decision(decision="reject", comment="not yet", by="ann"), path="no"),
        Act(3, ("edited", "waiting"), Decision(decision="approve", edit=["better"], by="ann"), path="edited"),
        Act(9, ("p/beside", "succeeded"), Decision(decision="approve", by="bob"), path="inside", child="p/c"),
    ],
)
PAUSED = OutsideScript(
    Script(
        steps=[
            agent("first", "take your time"),
            {"id": "m", "parallel": {"for_each": [1, 2], "do": agent("each", "item {{ input }}", retry=FAST)}},
        ],
        answers={
            "first": [Answer("1", after=1)],
            "m/each[0]": [Answer("one")],
            "m/each[1]": [Answer("two", after=0.3)],
        },
        says={"first": "take your time", "m/each[0]": "item 1", "m/each[1]": "item 2"},
    ),
    [Act(0.5, ("first", "running"), PAUSE), Act(3, ("first", "succeeded"), RESUME)],
)
PAUSED_CHILD = OutsideScript(
    Script(
        steps=[{"id": "c", "workflow": "inner"}],
        workflows={"inner": sequence(agent("slow", "take your time"), {"id": "then", "transform": 1})},
        answers={"c/slow": [Answer("1", after=1)]},
        says={"c/slow": "take your time"},
    ),
    [Act(0.5, ("c/slow", "running"), PAUSE), Act(3, ("c/slow", "succeeded"), RESUME)],
)
LIMIT_RAISED = OutsideScript(
    Script(
        steps=[agent("one", "first"), agent("two", "second")],
        answers={"one": [Answer("1 2 3")], "two": [Answer("4")]},
        says={"one": "first", "two": "second"},
        fields={"limits": {"max_tokens": 12}},
    ),
    [Act(1, ("", "paused"), Limits(max_tokens=100)), Act(2, ("", "paused"), RESUME)],
)
RUNS_LIMIT_RAISED = OutsideScript(
    Script(
        steps=[agent("one", "first"), {"id": "c", "workflow": "inner"}],
        workflows={
            "inner": sequence({"id": "d", "workflow": "deep"}),
            "deep": sequence(agent("two", "second"), agent("three", "third")),
        },
        answers={"one": [Answer("1 2")], "c/d/two": [Answer("3")], "c/d/three": [Answer("4")]},
        says={"one": "first", "c/d/two": "second", "c/d/three": "third"},
        fields={"limits": {"max_tokens": 20}},
    ),
    [Act(1, ("", "paused"), Limits(max_tokens=100)), Act(2, ("", "paused"), RESUME)],
)
"""Reached in a child of a child."""
ONCE = {"max_attempts": 1}
PARKED = OutsideScript(
    Script(
        steps=[
            {"id": "p", "parallel": {"branches": [agent("a", "first", retry=ONCE), agent("b", "beside", retry=ONCE)]}},
            {"id": "c", "workflow": "inner"},
            agent("last", "at last", retry=ONCE),
            {"id": "end", "transform": "${{ [steps.p.output, steps.c.output, steps.last.status] }}"},
        ],
        workflows={"inner": sequence(agent("ask", "inside", retry=ONCE), {"id": "then", "transform": 1})},
        answers={
            "p/a": [no(503), Answer("one")],
            "p/b": [no(503, 0.3)],
            "c/ask": [no(400), no(400)],
            "last": [no(503)],
        },
        says={"p/a": "first", "p/b": "beside", "c/ask": "inside", "last": "at last"},
        fields={"on_failure": "pause"},
    ),
    [
        Act(1, ("p/b", "waiting"), Resolution(action="retry", by="ann"), path="p/a"),
        Act(2, ("p/a", "succeeded"), Resolution(action="done", output="two", by="ann"), path="p/b"),
        Act(3, ("c", "waiting"), Resolution(action="retry", by="bob"), path="c"),
        Act(4, ("c", "waiting"), Resolution(action="done", output=3, by="bob"), path="c"),
        Act(5, ("last", "waiting"), Resolution(action="skip", by="bob"), path="last"),
    ],
)
PARKED_CHILD = OutsideScript(
    Script(
        steps=[{"id": "c", "workflow": "inner"}],
        workflows={"inner": sequence(agent("ask", "inside", retry=ONCE), on_failure="pause")},
        answers={"c/ask": [no(503), Answer("fine")]},
        says={"c/ask": "inside"},
    ),
    [Act(1, ("c/ask", "waiting"), Resolution(action="retry", by="ann"), path="ask", child="c")],
)
