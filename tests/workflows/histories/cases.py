"""What is recorded: each pattern as a whole and as a block, and all that can happen to a step and to a run."""

from studio.contracts.base import JsonObject
from tests.workflows.histories.scripts import (
    BUSY,
    FAST,
    NEVER,
    REFUSED,
    Case,
    agent,
    approve,
    approve_in_child,
    cancel_held_call,
    lift_limits,
    parallel,
    pause_and_resume,
    raise_limit,
    resolve,
    said,
    send_two_signals,
    sequence,
    transform,
    wait_in_the_middle,
)

JOINS = sequence(
    parallel(
        "any", agent("quick", "any quick"), agent("slow", "any slow"), {"id": "t", "wait": {"for": "1h"}}, join="any"
    ),
    parallel("two", agent("a2", "two a"), agent("b2", "two b"), agent("c2", "two slow"), join={"at_least": 2}),
    parallel("quorum", agent("a3", "half a"), agent("b3", "half bad"), agent("c3", "half c"), join={"quorum": 0.6}),
    parallel("timed", agent("a4", "in time"), agent("b4", "too slow"), timeout="300ms"),
    parallel("at_once", transform("a5"), agent("never", "never begun"), join="any"),
    parallel("collect", agent("a6", "collect bad"), agent("b6", "collect b"), on_branch_error="collect"),
    output="${{ [steps.any, steps.two, steps.quorum, steps.timed, steps.at_once, steps.collect].map(s, s.output) }}",
)
GRAPH: JsonObject = {
    "nodes": [
        agent("start", "graph start"),
        agent("draft", "draft {{ input }}", input="${{ prev.output }}", join="any", max_visits=5),
        agent("judge", "judge {{ input }}"),
        agent("left", "graph left"),
        agent("right", "graph right", join={"at_least": 1}),
        transform("skipped"),
        transform("end", "${{ prev.output }}", join="all"),
    ],
    "edges": [
        {"from": "start", "to": "draft"},
        {"from": "draft", "to": "judge"},
        {"from": "judge", "to": "draft", "when": "${{ steps.judge.output == 'again' }}"},
        {"from": "judge", "to": "left", "when": "${{ steps.judge.output == 'good' }}"},
        {"from": "judge", "to": "right", "when": "${{ steps.judge.output == 'good' }}"},
        {"from": "judge", "to": "skipped", "when": False},
        {"from": "left", "to": "end"},
        {"from": "right", "to": "end"},
        {"from": "skipped", "to": "end"},
    ],
}
GRAPH_SAYS = {"judge": said("again", "good")}
TEAM: JsonObject = {
    "manager": {},
    "workers": [{"name": "reader", "agent": {}, "description": "reads"}, {"name": "writer", "agent": {}}],
    "input": "plan",
}
_DELEGATE = '{"delegate": [{"worker": "reader", "task": "look"}, {"worker": "writer", "task": "note"}]}'
TEAM_SAYS = {"Task: plan": said(_DELEGATE), "Reports:": said('{"answer": "done"}')}
CHOICES: JsonObject = {
    "left": {"description": "to the left", "steps": [agent("to_left", "go left")]},
    "right": {"steps": [transform("to_right", "R")]},
}
ROUTE: JsonObject = {"route": {"agent": {}, "choices": CHOICES}, "else": [transform("other", "else")]}
LOOP: JsonObject = {
    "do": [transform("try", "try ${{ iteration }}"), agent("critic", "critic {{ input }}")],
    "until": "${{ last == 'good' }}",
}
LOOP_SAYS = {"critic": said("again", "again", "good")}
MAP: JsonObject = {
    "for_each": ["m0", "m1", "m2", "m3", "m4"],
    "do": agent("one", "item {{ input }}"),
    "max_concurrency": 2,
    "on_branch_error": "collect",
}
INNER = sequence(agent("a", "inner"), agent("b", "inner too"), output="${{ {'got': prev.output, 'of': input} }}")
COUNT_DOWN = sequence(
    {"id": "c", "workflow": "down", "input": "${{ input - 1 }}", "when": "${{ input > 0 }}"},
    output="${{ input == 0 ? 0 : steps.c.output + 1 }}",
)
CASES: dict[str, Case] = {
    "agent": Case(sequence(agent("only", "alone {{ input }}")), given="x", of_agent=True),
    "stored_prompt": Case(
        sequence({"id": "a", "agent": {"prompt": {"name": "greet"}}, "input": {"name": "Ada"}, "timeout": "30s"})
    ),
    "sequential": Case(
        sequence(
            agent("plan", "topic {{ topic }}", input={"topic": "${{ input.topic }}"}),
            transform("skipped", when="${{ steps.plan.output == 'x' }}"),
            agent("skipped_too", "never", when=False),
            agent("typed", "as json", output_schema={"type": "object", "required": ["n"]}),
            transform("last", "${{ steps.typed.output.n }}"),
            output="${{ [steps.plan.output, prev.output] }}",
        ),
        given={"topic": "rivers"},
        says={"as json": said('Here: {"n": 1}')},
        output=["ok", 1],
    ),
    "parallel": Case(
        {
            "pattern": "parallel",
            "branches": [agent("a", "left", input="x"), agent("b", "right"), {"id": "w", "wait": {"for": "100ms"}}],
        },
        output={"a": "ok", "b": "ok", "w": None},
    ),
    "for_each": Case(
        {"pattern": "parallel", **MAP},
        says={"item m1": [REFUSED], "item m2": said("ok", delay=0.2)},
        output=["ok", None, "ok", "ok", "ok"],
    ),
    "joins": Case(
        JOINS,
        says={
            "any slow": NEVER,
            "two slow": NEVER,
            "too slow": NEVER,
            "half bad": [REFUSED],
            "collect bad": [REFUSED],
        },
        output=[
            {"quick": "ok", "slow": None, "t": None},
            {"a2": "ok", "b2": "ok", "c2": None},
            {"a3": "ok", "b3": None, "c3": "ok"},
            {"a4": "ok", "b4": None},
            {"a5": 1, "never": None},
            {"a6": None, "b6": "ok"},
        ],
    ),
    "conditional": Case(
        {
            "pattern": "conditional",
            "cases": [
                {"when": "${{ input == 1 }}", "steps": [agent("one", "is one")]},
                {"when": "${{ input == 2 }}", "steps": [agent("two", "is two"), agent("more", "and more")]},
            ],
        },
        given=2,
    ),
    "route": Case({"pattern": "conditional", **ROUTE}, given="go", says={"Choose": said('{"choice": "left"}')}),
    "graph": Case({"pattern": "graph", **GRAPH}, says=GRAPH_SAYS),
    "hierarchical": Case({"pattern": "hierarchical", **TEAM}, says=TEAM_SAYS, output="done"),
    "hierarchical_parallel": Case({"pattern": "hierarchical", "parallel": True, **TEAM}, says=TEAM_SAYS, output="done"),
    "blocks": Case(
        sequence(
            {"id": "s", "sequential": {"steps": [agent("first", "first"), transform("second")]}},
            {"id": "map", "parallel": MAP},
            {
                "id": "c",
                "conditional": {"cases": [{"when": False, "steps": [transform("n")]}], "else": [transform("e")]},
            },
            {"id": "r", "conditional": ROUTE},
            {"id": "g", "graph": GRAPH},
            {"id": "t", "hierarchical": TEAM},
            {"id": "tp", "hierarchical": TEAM | {"parallel": True}},
            {"id": "l", "loop": LOOP},
            {"id": "w", "loop": {"do": [agent("more", "while")], "while": "${{ iteration < 2 }}"}},
        ),
        says=GRAPH_SAYS | TEAM_SAYS | LOOP_SAYS | {"Choose": said('{"choice": "neither"}')},
    ),
    "nested": Case(
        sequence(
            {
                "id": "rounds",
                "loop": {
                    "do": [
                        parallel(
                            "side",
                            {"id": "map", "parallel": MAP | {"for_each": ["m0", "m1"]}},
                            {
                                "id": "g",
                                "graph": {
                                    "nodes": [
                                        agent("a", "deep"),
                                        {"id": "t", "hierarchical": TEAM},
                                        {"id": "c", "conditional": ROUTE},
                                    ],
                                    "edges": [{"from": "a", "to": "t"}, {"from": "a", "to": "c"}],
                                },
                            },
                        )
                    ],
                    "until": "${{ iteration == 1 }}",
                },
            }
        ),
        says=TEAM_SAYS | {"Reports:": said('{"answer": "done"}'), "Choose": said('{"choice": "left"}')},
        output={"map": ["ok", "ok"], "g": {"t": "done", "c": "ok"}},
    ),
    "on_error": Case(
        sequence(
            agent("goes_on", "bad one", on_error="continue"),
            agent(
                "caught",
                "bad two",
                on_error=[
                    {"catch": ["timeout"], "steps": [transform("no")]},
                    {"catch": "all", "steps": [agent("sorry", "sorry {{ input }}", input="${{ error.type }}")]},
                ],
            ),
            parallel("side", agent("bad", "bad three"), agent("slow", "slow three")) | {"on_error": "continue"},
            transform("wrong", "${{ 1 / input }}", on_error="continue"),
            agent("last", "bad four"),
        ),
        given=0,
        says={"bad": [REFUSED], "slow three": NEVER},
        status="failed",
    ),
    "retry": Case(
        sequence(
            agent("call", "flaky call", retry=FAST),
            {
                "id": "block",
                "sequential": {"steps": [agent("a", "steady"), agent("b", "flaky block", retry={"max_attempts": 1})]},
                "retry": {"max_attempts": 3, **FAST},
            },
        ),
        says={"flaky call": [BUSY, BUSY, *said("fine")], "flaky block": [BUSY, *said("fine")]},
        output="fine",
    ),
    "timeouts": Case(
        sequence(
            {"id": "block", "sequential": {"steps": [agent("a", "slow block")]}, "timeout": "300ms"}
            | {"on_error": "continue"},
            agent("call", "slow call", timeout="300ms", on_error="continue"),
            {"id": "wait", "wait": {"signal": "none", "timeout": "100ms"}, "on_error": "continue"},
            agent("in_time", "quick", timeout="1m"),
            {"id": "last", "wait": {"for": "1h"}},
            limits={"timeout": "5s"},
        ),
        says={"slow": NEVER},
        status="timed_out",
    ),
    "waits": Case(
        sequence(
            {"id": "pause", "wait": {"for": "100ms"}},
            {"id": "past", "wait": {"until": "2020-01-01T00:00:00Z"}},
            {"id": "early", "wait": {"signal": "early"}},
            {"id": "late", "wait": {"signal": "late", "timeout": "1h"}},
            agent("last", "{{ input }}", input="${{ [steps.early.output, steps.late.output] }}"),
        ),
        meanwhile=send_two_signals,
    ),
    "approval": Case(
        sequence(
            agent("draft", "draft"),
            {"id": "ask", "approval": {"message": "Send ${{ prev.output }}?", "timeout": "1h", "allow_edit": True}},
            agent("send", "send {{ input }}", input="${{ steps.ask.output.value }}"),
        ),
        meanwhile=approve,
    ),
    "approval_timeout": Case(
        sequence(
            {"id": "ask", "approval": {"message": "Well?", "timeout": "100ms", "on_timeout": "approve"}},
            {"id": "again", "approval": {"message": "And?", "timeout": "100ms"}, "on_error": "continue"},
            agent("last", "decided"),
        )
    ),
    "pause": Case(
        sequence(agent("first", "pause here"), agent("second", "goes on")),
        says={"pause here": said("ok", hold_after=0)},
        meanwhile=pause_and_resume,
    ),
    "limit_fails": Case(
        sequence(
            agent("a", "one"), agent("b", "two"), agent("c", "three"), limits={"max_tokens": 12, "on_exceeded": "fail"}
        ),
        status="failed",
    ),
    "child_waits": Case(
        sequence({"id": "c", "workflow": "other"}, agent("after", "after it")),
        workflows={"other": sequence(agent("first", "first"), {"id": "ask", "approval": {"message": "Well?"}})},
        meanwhile=approve_in_child,
        children=("c",),
    ),
    "parked": Case(
        sequence(agent("again", "at first"), agent("given", "never"), transform("end", "ok"), on_failure="pause"),
        says={"at first": [REFUSED, *said("ok")], "never": [REFUSED]},
        meanwhile=resolve,
    ),
    "limit_pauses": Case(
        sequence(agent("a", "one"), agent("b", "two"), agent("c", "three"), limits={"max_steps": 2}),
        meanwhile=raise_limit,
    ),
    "child_limited": Case(
        sequence({"id": "c", "workflow": "middle"}, limits={"max_tokens": 1}),
        workflows={
            "middle": sequence({"id": "d", "workflow": "deep"}),
            "deep": sequence(agent("first", "first"), agent("second", "second")),
        },
        meanwhile=lift_limits,
        children=("c", "c/d"),
    ),
    "child": Case(
        sequence({"id": "c", "workflow": "inner", "input": 5}, agent("after", "after")),
        workflows={"inner": INNER},
        children=("c",),
    ),
    "child_recursion": Case(
        sequence({"id": "c", "workflow": "down", "input": 3}),
        workflows={"down": COUNT_DOWN},
        children=("c", "c/c/c"),
        output=3,
    ),
    "child_fails": Case(
        sequence(
            {"id": "c", "workflow": "inner", "retry": {"max_attempts": 2, **FAST}, "on_error": "continue"},
            {"id": "d", "workflow": "inner"},
        ),
        workflows={"inner": sequence(agent("a", "bad child", retry={"max_attempts": 1}))},
        says={"bad child": [BUSY]},
        children=("d",),
        status="failed",
    ),
    "child_cancelled": Case(
        sequence({"id": "c", "workflow": "inner"}),
        workflows={"inner": sequence(agent("a", "slow child")) | {"finally": [agent("f", "child cleans")]}},
        says={"slow child": NEVER},
        meanwhile=cancel_held_call,
        children=("c",),
        status="cancelled",
    ),
    "compensate_and_finally": Case(
        sequence(
            agent("a", "book", compensate=agent("undo_a", "unbook {{ input }}", input="${{ steps.a.output }}")),
            transform("b", 2, compensate=transform("undo_b", "${{ steps.b.output }}")),
            agent("bad", "bad booking"),
        )
        | {"finally": [agent("f", "clean {{ input }}", input="${{ error.type }}"), transform("g")]},
        says={"bad booking": [REFUSED]},
        status="failed",
    ),
    "cancel": Case(
        sequence(
            agent("a", "booked", compensate=agent("undo", "undone")),
            parallel("side", agent("slow", "slow forever"), {"id": "w", "wait": {"for": "1h"}}),
            agent("never", "never"),
        )
        | {"finally": [agent("f", "cleaned")]},
        says={"slow forever": NEVER},
        meanwhile=cancel_held_call,
        status="cancelled",
    ),
    "long_turn": Case(
        sequence(*(transform(f"t{number}", "${{ [1, 2].map(x, x * 2) }}") for number in range(12)), agent("z", "end"))
    ),
    "continued": Case(
        sequence(
            parallel(
                "side",
                {"id": "l", "loop": {"do": [agent("a", "again and again")], "until": "${{ iteration == 9 }}"}},
                {"id": "w", "wait": {"for": "3s"}},
            ),
            agent("last", "at last"),
        ),
        continues=True,
    ),
    "open": Case(
        sequence(
            agent("before", "before"),
            parallel("middle", {"id": "signal", "wait": {"signal": "go"}}, {"id": "timer", "wait": {"for": "9h"}}),
            agent("after", "after"),
        ),
        meanwhile=wait_in_the_middle,
        stays_open=True,
    ),
}
