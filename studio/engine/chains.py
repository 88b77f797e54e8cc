"""One after the other: sequential blocks, the chosen case, the rounds of a loop, and what catches an error."""

from typing import cast

from studio.contracts.base import Json, JsonObject
from studio.contracts.runs import RunError
from studio.contracts.steps import ConditionalBlock, LoopBlock, Route
from studio.engine.answers import without_thoughts
from studio.engine.plan import FINALLY, ROOT
from studio.engine.recalls import is_gone_through
from studio.engine.scope import UnusableError
from studio.engine.state import RunAgent
from studio.engine.turn import Turn
from studio.expressions import as_text

_AROUND_A_NAME = " \t\r\n\"'`*.\u201c\u201d\u2018\u2019\u201e\u00ab\u00bb"
"""What models put around a name that they answer with."""


def go_on(turn: Turn, path: str) -> None:
    """Start the chain's next step, or end the chain."""
    frame = turn.frame(path)
    steps = turn.plan.groups[frame.group or ROOT]
    if frame.position < len(steps):
        frame.position += 1
        turn.reach(path, steps[frame.position - 1])
        return
    output = None if frame.last is None else turn.state.steps[frame.last].output
    if frame.group == FINALLY:
        turn.later("conclude", ROOT)
    elif frame.handling:
        turn.close(path, "failed", output=output, error=frame.error, handled=True)
    elif isinstance(turn.node(path).body, LoopBlock):
        _round_over(turn, path, output)
    else:
        turn.succeed(path, output)


def child_over(turn: Turn, path: str, child: str, uncaught: RunError | None) -> None:
    frame = turn.frame(path)
    if uncaught is None and turn.state.steps[child].status in {"succeeded", "failed"}:
        frame.last = child
    if frame.stopping:
        turn.later("stopped", path)
    elif uncaught is None:
        turn.later("next", path)
    else:
        turn.fail(path, uncaught)


def begin_choice(turn: Turn, path: str, block: ConditionalBlock) -> None:
    """Raises `UnusableError`."""
    key = turn.state.frames[path].node
    if block.route is not None:
        turn.frame(path).routing = True
        turn.reach(path, f"{key}.router", place="router.choice")
        return
    for index, case in enumerate(block.cases or []):
        if turn.holds(path, case.when, "when"):
            _take(turn, path, f"{key}?{index}", f"case {index}: {case.when}")
            return
    _take_else(turn, path, block)


def router_question(turn: Turn, path: str, parent: str, block: Route) -> RunAgent:
    """What the router is asked. Raises `UnusableError`."""
    task = turn.input_of(parent, block)
    choices: list[JsonObject] = [
        {"name": name, "description": choice.description} for name, choice in block.choices.items()
    ]
    lines = [f"- {choice['name']}: {choice['description']}" for choice in choices]
    text = task if isinstance(task, str) else as_text(task)
    message = "\n".join(
        ["Choose exactly one of these by its name:", *lines, 'Answer as JSON: {"choice": "<name>"}', "", text]
    )
    schema: JsonObject = {
        "type": "object",
        "properties": {"choice": {"type": "string", "enum": list(block.choices)}},
        "required": ["choice"],
        "additionalProperties": False,
    }
    given: JsonObject = {"message": message, "input": task, "choices": choices}
    return RunAgent(
        path=path,
        name=turn.node(path).agent or "router",
        agent=block.agent,
        input=given,
        output_schema=schema,
        is_choice=True,
    )


def routed(turn: Turn, path: str, child: str, uncaught: RunError | None) -> None:
    frame = turn.frame(path)
    if frame.stopping:
        turn.later("stopped", path)
        return
    block = cast("ConditionalBlock", turn.node(path).body)
    names_none = uncaught is not None and uncaught.type == "schema_mismatch" and block.otherwise is not None
    if uncaught is not None and not names_none:
        turn.fail(path, uncaught)
        return
    frame.routing = False
    answer = turn.state.steps[child].output
    name = _named(answer, list(block.route.choices if block.route else ()))
    if name is not None:
        _take(turn, path, f"{frame.node}?={name}", f"the router chose {name}", told=child not in turn.recalled)
    elif block.otherwise is not None:
        _take_else(turn, path, block)
    else:
        message = "The router's answer is none of the choices; add `else`, or describe them more clearly."
        turn.fail(path, RunError(type="schema_mismatch", message=message, step_id=child))


def _named(answer: Json, names: list[str]) -> str | None:
    """The choice that an answer is: the `choice` of the JSON, or the text. One that only occurs in a text does not
    count: the text may say that it is not the one.
    """
    if isinstance(answer, dict):
        answer = cast("JsonObject", answer).get("choice")
        said = answer if isinstance(answer, str) else ""
    else:
        said = without_thoughts(answer).strip(_AROUND_A_NAME) if isinstance(answer, str) else ""
    found = [name for name in names if name == said] or [name for name in names if name.lower() == said.lower()]
    return found[0] if len(found) == 1 else None


def _take_else(turn: Turn, path: str, block: ConditionalBlock) -> None:
    if block.otherwise is not None:
        _take(turn, path, f"{turn.state.frames[path].node}?else", "else")
    else:
        turn.succeed(path, None)


def _take(turn: Turn, path: str, group: str, why: str, *, told: bool = True) -> None:
    turn.follow(path, group)
    if not told or is_gone_through(turn, path):
        return
    target = turn.plan.groups[group][0]
    data: dict[str, Json] = {"from": path, "to": f"{path}/{target}" if path else target, "why": why}
    turn.record.publish("edge.taken", path or None, data)


def begin_loop(turn: Turn, path: str) -> None:
    frame = turn.frame(path)
    turn.state.rounds[path] = 0
    frame.scope = frame.scope | {"iteration": 0, "last": None}
    frame.group = frame.node
    turn.later("round", path)


def begin_round(turn: Turn, path: str) -> None:
    frame = turn.frame(path)
    block = cast("LoopBlock", turn.node(path).body)
    try:
        if block.condition is not None and not turn.holds(path, block.condition, "while"):
            _no_more_rounds(turn, path)
            turn.succeed(path, frame.scope["last"])
            return
    except UnusableError as unusable:
        _no_more_rounds(turn, path)
        turn.fail(path, unusable.error)
        return
    if turn.state.rounds[path] >= block.max_iterations:
        _no_more_rounds(turn, path)
        message = f"The loop did not end within max_iterations, {block.max_iterations} rounds."
        turn.fail(path, RunError(type="limit_exceeded", message=message))
        return
    frame.position, frame.last = 0, None
    turn.later("next", path)


def _no_more_rounds(turn: Turn, path: str) -> None:
    """The round that was asked about does not begin: seen from outside, the last one is the one before."""
    turn.state.rounds[path] = max(turn.state.rounds[path] - 1, 0)


def _round_over(turn: Turn, path: str, output: Json) -> None:
    frame = turn.frame(path)
    block = cast("LoopBlock", turn.node(path).body)
    frame.scope = frame.scope | {"last": output}
    try:
        if block.until is not None and turn.holds(path, block.until, "until"):
            turn.succeed(path, output)
            return
    except UnusableError as unusable:
        turn.fail(path, unusable.error)
        return
    turn.state.rounds[path] += 1
    frame.scope = frame.scope | {"iteration": turn.state.rounds[path]}
    turn.later("round", path)
