"""A manager plans, delegates to workers, reads their reports, and ends with an answer."""

from typing import cast

from studio.contracts.base import Json, JsonObject
from studio.contracts.runs import RunError
from studio.contracts.steps import HierarchicalBlock
from studio.engine.frames import Team
from studio.engine.state import RunAgent
from studio.engine.turn import Turn
from studio.expressions import as_text

MAX_DELEGATIONS = 100
"""In one round."""


def begin(turn: Turn, path: str, block: HierarchicalBlock) -> None:
    """Raises `UnusableError`."""
    turn.frame(path).team = Team(task=turn.input_of(path, block))
    turn.later("plan", path)


def begin_round(turn: Turn, path: str) -> None:
    frame = turn.frame(path)
    team = cast("Team", frame.team)
    team.round += 1
    turn.reach(path, f"{frame.node}.manager", place=f"manager.round-{team.round}")


def question(turn: Turn, path: str, parent: str, block: HierarchicalBlock) -> RunAgent:
    """What the manager, or a worker, is asked."""
    team = cast("Team", turn.state.frames[parent].team)
    node = turn.node(path)
    if path in team.under_way:
        task = team.under_way[path]["task"]
        agent = next(worker.agent for worker in block.workers if worker.name == team.under_way[path]["worker"])
        return RunAgent(path=path, name=node.agent or "worker", agent=agent, input=task)
    is_last = team.round >= block.max_rounds
    given = _manager_input(team, block, is_last=is_last)
    schema = _answer_schema(block, is_last=is_last)
    name = node.agent or "manager"
    return RunAgent(path=path, name=name, agent=block.manager, input=given, output_schema=schema)


def _manager_input(team: Team, block: HierarchicalBlock, *, is_last: bool) -> JsonObject:
    workers: list[JsonObject] = [{"name": worker.name, "description": worker.description} for worker in block.workers]
    lines = [f"Task: {as_text(team.task)}", "", "Workers:"]
    lines += [f"- {worker['name']}: {worker['description']}" for worker in workers]
    if team.reports:
        lines += ["", "Reports:"]
        lines += [f"- {as_text(cast('Json', report))}" for report in team.reports]
    lines += ["", 'To end, answer as JSON: {"answer": "<text>"}']
    if not is_last:
        lines.append('To delegate, answer as JSON: {"delegate": [{"worker": "<name>", "task": "<text>"}]}')
    return {
        "message": "\n".join(lines),
        "task": team.task,
        "workers": workers,
        "reports": list(team.reports),
        "round": team.round,
        "max_rounds": block.max_rounds,
    }


def _answer_schema(block: HierarchicalBlock, *, is_last: bool) -> JsonObject:
    properties: JsonObject = {"answer": {"type": "string"}}
    if is_last:
        return {"type": "object", "properties": properties, "required": ["answer"], "additionalProperties": False}
    delegation: JsonObject = {
        "type": "object",
        "properties": {
            "worker": {"type": "string", "enum": [worker.name for worker in block.workers]},
            "task": {"type": "string"},
        },
        "required": ["worker", "task"],
        "additionalProperties": False,
    }
    properties["delegate"] = {"type": "array", "items": delegation}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def child_over(turn: Turn, path: str, child: str, node: str, uncaught: RunError | None) -> None:
    frame = turn.frame(path)
    team = cast("Team", frame.team)
    report = team.under_way.pop(child, None)
    if frame.stopping:
        turn.later("stopped", path)
    elif report is not None:
        result: JsonObject = {"worker": report["worker"], "task": report["task"]}
        result |= {"output": turn.state.steps[child].output} if uncaught is None else {"error": uncaught.message}
        team.reports[report["place"]] = result
        turn.later("delegate", path)
    elif uncaught is not None:
        turn.fail(path, uncaught)
    else:
        _decide(turn, path, child, team)


def _decide(turn: Turn, path: str, child: str, team: Team) -> None:
    block = cast("HierarchicalBlock", turn.node(path).body)
    answer = turn.state.steps[child].output
    held = cast("JsonObject", answer) if isinstance(answer, dict) else {"answer": answer}
    delegate = cast("list[Json]", held["delegate"]) if isinstance(held.get("delegate"), list) else []
    if not delegate and held.get("answer") is None:
        message = "The manager's answer is none: it holds neither `answer` nor `delegate`."
        turn.fail(path, RunError(type="schema_mismatch", message=message, step_id=child))
        return
    if not delegate:
        turn.succeed(path, held["answer"])
        return
    if team.round >= block.max_rounds:
        message = f"The manager still delegated in the last of max_rounds, {block.max_rounds} rounds."
        turn.fail(path, RunError(type="limit_exceeded", message=message))
        return
    if len(delegate) > MAX_DELEGATIONS:
        message = f"The manager delegated {len(delegate)} tasks at once; {MAX_DELEGATIONS} are allowed."
        turn.fail(path, RunError(type="limit_exceeded", message=message))
        return
    team.queue = [_delegation(item) for item in delegate]
    if child not in turn.recalled:
        text = "; ".join(f"{item['worker']}: {as_text(item['task'])}" for item in team.queue)
        turn.record.publish("thinking", child, {"text": f"Delegates {text}\n"})
    turn.later("delegate", path)


def _delegation(item: Json) -> JsonObject:
    held = cast("JsonObject", item) if isinstance(item, dict) else {}
    return {"worker": str(held.get("worker")), "task": held.get("task")}


def delegate(turn: Turn, path: str) -> None:
    """Begin what the manager delegated; when all is reported, ask it again."""
    frame = turn.frame(path)
    team = frame.team
    if team is None:
        return
    block = cast("HierarchicalBlock", turn.node(path).body)
    names = [worker.name for worker in block.workers]
    while team.queue and (block.parallel or not team.under_way):
        item = team.queue.pop(0)
        worker = item["worker"]
        if worker not in names:
            error = f"There is no worker {worker!r}; there are {', '.join(names)}."
            team.reports.append(item | {"error": error})
            continue
        count = team.counts[worker] = team.counts.get(worker, 0) + 1
        place = f"worker.{worker}-{count}"
        team.under_way[f"{path}/{place}" if path else place] = item | {"place": len(team.reports)}
        team.reports.append(item)
        turn.reach(path, f"{frame.node}.worker.{worker}", place=place)
        if frame.stopping:
            return
    if not team.queue and not team.under_way:
        turn.later("plan", path)
