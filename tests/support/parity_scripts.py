"""Definitions that use every pattern, each with what the model says: run by both drivers in `test_parity.py`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

from studio.contracts.base import Json, JsonObject
from studio.contracts.runs import RunError, RunUsage
from studio.engine.memory_calls import ModelReply
from tests.support.scripted_upstream import Reply

FAST = {"initial_interval": "10ms"}


@dataclass(frozen=True)
class Answer:
    """What the model says to one attempt, `after` some seconds: those tell apart what runs side by side."""

    text: str = ""
    status: int = 200
    after: float = 0
    finish_reason: str = "stop"

    def upstream(self) -> Reply:
        error = None if self.status == 200 else {"error": {"message": "no"}}
        return Reply(
            text=self.text, status=self.status, error=error, delay=self.after, finish_reason=self.finish_reason
        )

    def memory(self) -> ModelReply:
        after = timedelta(seconds=self.after)
        if self.status != 200:
            return ModelReply(error=RunError(type=_TYPES[self.status], message="no"), after=after)
        total = 10 + len(re.findall(r"\S+\s*", self.text))
        usage = RunUsage(prompt_tokens=10, completion_tokens=total - 10, total_tokens=total, llm_calls=1)
        cost = Decimal(total) / 1_000_000
        return ModelReply(self.text, after=after, usage=usage, cost_usd=cost, finish_reason=self.finish_reason)


_TYPES = {400: "invalid_request", 429: "rate_limited", 503: "upstream_error"}


@dataclass(frozen=True)
class Script:
    """`answers` are by step path; the upstream knows a call by `says`, what its user message contains."""

    steps: list[JsonObject]
    answers: Mapping[str, Sequence[Answer]]
    says: Mapping[str, str]
    given: Json = None
    fields: JsonObject = field(default_factory=dict[str, Any])
    workflows: Mapping[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    """Those that steps run as children: the fields of each beside its name."""
    counted: bool = True
    """Whether usage is compared."""


def agent(step_id: str, message: str, **fields: Json) -> JsonObject:
    return {"id": step_id, "agent": {"message": message}, **fields}


def no(status: int = 400, after: float = 0) -> Answer:
    return Answer(status=status, after=after)


SEQUENCE = Script(
    steps=[
        agent("plan", "topic: {{ topic }}", input={"topic": "${{ input.topic }}"}),
        {"id": "skipped", "when": "${{ steps.plan.output == 'x' }}", "transform": 1},
        {"id": "b", "sequential": {"steps": [{"id": "note", "transform": {"text": "use ${{ prev.output }}"}}]}},
        agent("write", "{{ text }}", input="${{ steps.note.output }}", retry=FAST),
        {"id": "pause", "wait": {"for": "50ms"}},
        agent("typed", "as json", output_schema={"type": "object", "required": ["n"]}),
    ],
    answers={
        "plan": [Answer("a plan")],
        "write": [no(503), no(429), Answer("an essay")],
        "typed": [Answer('Here you are: {"n": 1} and more')],
    },
    says={"plan": "topic: rivers", "write": "use a plan", "typed": "as json"},
    given={"topic": "rivers"},
    fields={"output": "${{ [steps.write.output, steps.typed.output.n] }}"},
)
PARALLEL = Script(
    steps=[
        {
            "id": "map",
            "parallel": {
                "for_each": ["x0", "x1", "x2"],
                "max_concurrency": 2,
                "on_branch_error": "collect",
                "do": agent("one", "ask {{ input }}", retry={"max_attempts": 2, **FAST}),
            },
        },
        {
            "id": "race",
            "parallel": {
                "join": "any",
                "branches": [
                    agent("slow", "slow one"),
                    agent("quick", "quick one"),
                    {"id": "t", "wait": {"for": "1h"}},
                ],
            },
        },
        {
            "id": "late",
            "parallel": {"timeout": "300ms", "branches": [agent("in", "in time"), agent("out", "too late")]},
        },
    ],
    answers={
        "map/one[0]": [no(503, 0.3), Answer("zero", after=0.3)],
        "map/one[1]": [no(400, 0.1)],
        "map/one[2]": [Answer("two", after=3)],
        "race/slow": [Answer("slow", after=9)],
        "race/quick": [Answer("quick", after=0.1)],
        "late/in": [Answer("in")],
        "late/out": [Answer("out", after=9)],
    },
    says={
        "map/one[0]": "ask x0",
        "map/one[1]": "ask x1",
        "map/one[2]": "ask x2",
        "race/slow": "slow one",
        "race/quick": "quick one",
        "late/in": "in time",
        "late/out": "too late",
    },
    fields={"output": "${{ [steps.map.output, steps.race.output, steps.late.output] }}"},
)
CHOICES = Script(
    steps=[
        {
            "id": "c",
            "conditional": {
                "cases": [{"when": "${{ input == 1 }}", "steps": [agent("one", "is one")]}],
                "else": [{"id": "other", "transform": "other"}],
            },
        },
        {
            "id": "r",
            "conditional": {
                "route": {
                    "agent": {},
                    "input": "which",
                    "choices": {
                        "left": {"steps": [agent("l", "to the left")]},
                        "right": {"steps": [{"id": "x", "transform": 0}]},
                    },
                }
            },
        },
        {
            "id": "refine",
            "loop": {
                "do": [
                    {"id": "draft", "transform": "draft ${{ iteration }}"},
                    agent("critic", "judge {{ text }}", input={"text": "${{ steps.draft.output }}"}),
                ],
                "until": "${{ last == 'good' }}",
            },
        },
    ],
    answers={
        "c/one": [Answer("one")],
        "r/router.choice": [Answer('{"choice": "left"}')],
        "r/l": [Answer("left")],
        "refine#0/critic": [Answer("again")],
        "refine#1/critic": [Answer("good")],
    },
    says={
        "c/one": "is one",
        "r/router.choice": "Choose exactly one",
        "r/l": "to the left",
        "refine#0/critic": "judge draft 0",
        "refine#1/critic": "judge draft 1",
    },
    given=1,
)
DELEGATION = """\
{"delegate": [{"worker": "reader", "task": "look it up"}, {"worker": "writer", "task": "put it down"}]}"""
GRAPH = Script(
    steps=[
        {
            "id": "g",
            "graph": {
                "nodes": [
                    {"id": "start", "transform": 0},
                    agent("a", "node a"),
                    agent("b", "node b", retry=FAST),
                    {"id": "dead", "transform": "never"},
                    agent("again", "round {{ input }}", input="${{ steps.start.output }}", max_visits=3, join="any"),
                    {"id": "end", "transform": "${{ [steps.a.output, steps.again.output] }}"},
                ],
                "edges": [
                    {"from": "start", "to": "a"},
                    {"from": "start", "to": "b"},
                    {"from": "start", "to": "dead", "when": "${{ false }}"},
                    {"from": "a", "to": "again"},
                    {"from": "again", "to": "again", "when": "${{ steps.again.output == 'more' }}"},
                    {"from": "again", "to": "end", "when": "${{ steps.again.output == 'enough' }}"},
                    {"from": "b", "to": "end"},
                ],
            },
        },
        {
            "id": "t",
            "hierarchical": {
                "manager": {},
                "parallel": True,
                "workers": [{"name": "reader", "agent": {}}, {"name": "writer", "agent": {}}],
                "input": "plan",
            },
        },
    ],
    answers={
        "g/a": [Answer("A")],
        "g/b": [no(503, 1), Answer("B", after=0.3)],
        "g/again": [Answer("more"), Answer("enough")],
        "g/again@1": [Answer("enough")],
        "t/manager.round-1": [Answer(DELEGATION)],
        "t/worker.reader-1": [no(503), Answer("seen", after=0.2)],
        "t/worker.writer-1": [no(400, 0.5)],
        "t/manager.round-2": [Answer('{"answer": "done"}')],
    },
    says={
        "g/a": "node a",
        "g/b": "node b",
        "g/again": "round 0",
        "t/manager.round-1": "Task: plan",
        "t/worker.reader-1": "look it up",
        "t/worker.writer-1": "put it down",
        "t/manager.round-2": "Reports:",
    },
    fields={"output": "${{ [steps.g.output, steps.t.output] }}"},
)
FAILURES = Script(
    steps=[
        agent(
            "caught",
            "refused",
            on_error=[{"catch": ["invalid_request"], "steps": [{"id": "sorry", "transform": "${{ error.type }}"}]}],
        ),
        agent("template", "hello {{ nobody }}", input={}, on_error="continue"),
        {"id": "slow", "timeout": "300ms", "on_error": "continue", "sequential": {"steps": [agent("held", "held up")]}},
        agent(
            "no_time", "no time to try again", timeout="500ms", retry={"initial_interval": "10s"}, on_error="continue"
        ),
        {
            "id": "again",
            "retry": FAST,
            "sequential": {"steps": [agent("flaky", "flaky call", retry={"max_attempts": 2, **FAST})]},
        },
        {"id": "kept", "transform": 1, "compensate": agent("undo", "undo it")},
        agent("last", "last straw", retry={"max_attempts": 3, "non_retryable": ["upstream_error"], **FAST}),
    ],
    answers={
        "caught": [no(400)],
        "slow/held": [Answer("held", after=9)],
        "no_time": [no(503)],
        "again/flaky": [no(503), no(503), no(503), Answer("fine")],
        "kept/undo": [Answer("undone")],
        "last": [no(429), no(503)],
        "clean": [Answer("cleaned")],
    },
    says={
        "caught": "refused",
        "slow/held": "held up",
        "no_time": "no time to try again",
        "again/flaky": "flaky call",
        "kept/undo": "undo it",
        "last": "last straw",
        "clean": "clean up",
    },
    fields={"finally": [agent("clean", "clean up")]},
)

LATE = Script(
    steps=[agent("late", "out of time", timeout="500ms", on_error="continue"), {"id": "next", "transform": 1}],
    answers={"late": [Answer("late", after=9)]},
    says={"late": "out of time"},
    counted=False,  # a call that is cut short before its next heartbeat has not told what it used
)


HELD = Script(
    steps=[
        {"id": "kept", "transform": 1, "compensate": {"id": "undo", "transform": "${{ steps.kept.output }}"}},
        {"id": "p", "parallel": {"branches": [agent("a", "held up"), {"id": "w", "wait": {"for": "1h"}}]}},
        agent("never", "never asked"),
    ],
    answers={"p/a": [Answer("late", after=9)]},
    says={"p/a": "held up"},
    fields={"finally": [{"id": "last", "transform": "cleaned"}]},
)
LIMITED = Script(
    steps=[agent("one", "first"), agent("two", "second"), agent("three", "third")],
    answers={"one": [Answer("1")], "two": [Answer("2")]},
    says={"one": "first", "two": "second"},
    fields={"limits": {"max_steps": 2, "on_exceeded": "fail"}},
)
CUT = Script(
    steps=[
        agent("typed", "as json", output_schema={"type": "object"}, on_error="continue"),
        {
            "id": "team",
            "hierarchical": {"manager": {}, "workers": [{"name": "reader", "agent": {}}], "input": "plan"},
            "on_error": "continue",
        },
        agent("text", "as text"),
    ],
    answers={
        "typed": [Answer('{"a": {"b": 1}, "c', finish_reason="length")],
        "team/manager.round-1": [Answer(DELEGATION[:80], finish_reason="length")],
        "text": [Answer("Once upon", finish_reason="length")],
    },
    says={"typed": "as json", "team/manager.round-1": "Task: plan", "text": "as text"},
)
