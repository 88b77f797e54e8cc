"""Child workflows, each with what the model says: run by both drivers in `tests/workflows/test_parity.py`."""

from studio.contracts.base import Json, JsonObject
from tests.support.parity_scripts import FAST, Answer, Script, agent, no


def sequence(*steps: JsonObject, **fields: Json) -> JsonObject:
    return {"pattern": "sequential", "steps": list(steps), **fields}


CHILDREN = Script(
    steps=[
        {
            "id": "m",
            "parallel": {
                "for_each": ["x0", "x1", "x2"],
                "max_concurrency": 2,
                "do": {"id": "c", "workflow": "inner", "input": {"word": "${{ item }}"}},
            },
        },
        {"id": "last", "transform": "${{ steps.m.output }}"},
    ],
    workflows={
        "inner": sequence(
            agent("ask", "ask {{ word }}", input="${{ input }}", retry=FAST),
            {"id": "seen", "transform": "${{ [prev.output, run.id == ''] }}"},
            input_schema={"type": "object", "required": ["word"]},
        )
    },
    answers={
        "m/c[0]/ask": [no(503, 1), Answer("zero", after=0.3)],
        "m/c[1]/ask": [Answer("one", after=0.1)],
        "m/c[2]/ask": [Answer("two", after=4)],  # Temporal makes the other's next attempt up to a second late
    },
    says={"m/c[0]/ask": "ask x0", "m/c[1]/ask": "ask x1", "m/c[2]/ask": "ask x2"},
)
FAILING_CHILDREN = Script(
    steps=[
        {
            "id": "caught",
            "workflow": "failing",
            "on_error": [
                {"catch": ["invalid_request"], "steps": [{"id": "where", "transform": "${{ error.step_id }}"}]}
            ],
        },
        {"id": "unfit", "workflow": "strict", "input": {"n": "x"}, "on_error": "continue"},
        {"id": "again", "workflow": "flaky", "retry": {"max_attempts": 2, **FAST}},
        {"id": "full", "workflow": "limited", "on_error": "continue"},
        {"id": "hurried", "workflow": "late", "on_error": "continue"},
        {
            "id": "end",
            "transform": "${{ [steps.caught.output, steps.unfit.error.type, steps.again.output, steps.full.error.type, "
            "steps.hurried.error.type] }}",
        },
    ],
    workflows={
        "failing": sequence(
            {"id": "kept", "transform": 1, "compensate": {"id": "undo", "transform": "undone"}},
            {"id": "p", "parallel": {"branches": [agent("bad", "refused")]}},
        ),
        "strict": sequence(
            {"id": "never", "transform": 1}, input_schema={"type": "object", "properties": {"n": {"type": "integer"}}}
        ),
        "flaky": sequence(agent("call", "flaky call", retry={"max_attempts": 2, **FAST})),
        "limited": sequence(
            {"id": "one", "transform": 1},
            {"id": "two", "transform": 2},
            limits={"max_steps": 1, "on_exceeded": "fail"},
        ),
        "late": sequence({"id": "long", "wait": {"for": "1h"}}, limits={"timeout": "200ms"}),
    },
    answers={
        "caught/p/bad": [no(400)],
        "again/call": [no(503), no(503), no(503), Answer("fine")],
    },
    says={"caught/p/bad": "refused", "again/call": "flaky call"},
)
RECURSION = Script(
    steps=[
        {"id": "c", "workflow": "down", "input": 3},
        {"id": "endless", "workflow": "itself", "on_error": "continue"},
        {"id": "end", "transform": "${{ [steps.c.output, steps.endless.error.type] }}"},
    ],
    workflows={
        "down": sequence(
            {"id": "next", "workflow": "down", "input": "${{ input - 1 }}", "when": "${{ input > 0 }}"},
            output="${{ input == 0 ? 0 : steps.next.output + 1 }}",
        ),
        "itself": sequence({"id": "i", "workflow": "itself"}),
    },
    answers={},
    says={},
)
HELD_CHILD = Script(
    steps=[
        {"id": "p", "parallel": {"branches": [{"id": "c", "workflow": "inner"}, {"id": "w", "wait": {"for": "1h"}}]}},
        agent("never", "never asked"),
    ],
    workflows={
        "inner": sequence(
            {"id": "kept", "transform": 1, "compensate": {"id": "undo", "transform": "${{ steps.kept.output }}"}},
            agent("held", "held up"),
        )
        | {"finally": [agent("clean", "clean up")]}
    },
    answers={"p/c/held": [Answer("late", after=9)], "p/c/clean": [Answer("cleaned", after=0.2)]},
    says={"p/c/held": "held up", "p/c/clean": "clean up"},
)
LOST_RACE = Script(
    steps=[
        {
            "id": "race",
            "parallel": {"join": "any", "branches": [{"id": "c", "workflow": "inner"}, agent("quick", "quick one")]},
        }
    ],
    workflows={"inner": sequence(agent("slow", "slow one")) | {"finally": [{"id": "f", "transform": "cleaned"}]}},
    answers={"race/c/slow": [Answer("slow", after=9)], "race/quick": [Answer("quick", after=0.4)]},
    says={"race/c/slow": "slow one", "race/quick": "quick one"},
)
