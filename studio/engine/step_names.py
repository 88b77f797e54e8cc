"""Steps as people name them when a run is to be retried or replayed: by path, by id, or as one item of a map."""

from collections.abc import Mapping

from studio.contracts.base import Json
from studio.contracts.runs import StepRun, block_of
from studio.contracts.steps import GivenStep, LoopBlock, ParallelBlock
from studio.engine.plan import ROOT
from studio.engine.recorded import Recorded


class UnknownStep(Exception):
    """A name that leads to no step, or to none that can be meant. `name` is what was given."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


def named(recorded: Recorded, name: str) -> list[str]:
    """The recorded paths that a name means; none for a step that was not reached. Raises `UnknownStep`."""
    if name in recorded.nodes:
        return [name]
    if name in recorded.plan.nodes and name != ROOT:
        return recorded.by_node.get(name, [])
    if not name:
        raise UnknownStep(name, "An empty name names no step.")
    last = [path for path in recorded.nodes if path.rpartition("/")[2] == name]
    if last or recorded.resolve(name) is not None:
        return last
    child = _child_around(recorded, name)
    if child is not None:
        raise UnknownStep(name, f"{name!r} is inside the child workflow of the step {child!r}: name that step.")
    raise UnknownStep(name, f"There is no step {name!r} in this run: name one by its path, or by its id.")


def inputs_named(recorded: Recorded, inputs: Mapping[str, Json]) -> tuple[list[str], list[str]]:
    """The recorded steps that get another input, and those whose child workflow does inside. Raises `UnknownStep`."""
    own: list[str] = []
    inside: list[str] = []
    for name in inputs:
        child = _child_around(recorded, name)
        if child is not None and recorded.resolve(name) is None:
            inside.append(child)
            continue
        paths = named(recorded, name)
        node = recorded.plan.nodes[_node_of(recorded, name, paths)]
        if not isinstance(node.step, GivenStep) or "." in _node_of(recorded, name, paths):
            raise UnknownStep(name, f"The step {name!r} takes no input: it is of the kind {node.kind!r}.")
        own += paths
    return own, [path for path in inside if path in recorded.nodes]


def overridden(recorded: Recorded, overrides: Mapping[str, Json]) -> dict[str, StepRun]:
    """By path, the steps with the outputs that they get. Raises `UnknownStep`, also for one of which only its path
    could say which round or item is meant.
    """
    found: dict[str, StepRun] = {}
    for name, output in overrides.items():
        paths = [path for path in named(recorded, name) if _may_have_begun(recorded, path)]
        paths = paths or [_only_path(recorded, name)]
        for path in paths:
            node = recorded.plan.nodes[_node_of(recorded, path, [path])]
            held = recorded.runs.get(path) or StepRun(id=path, kind=node.kind, name=node.step.name, agent=node.agent)
            changes = {"status": "succeeded", "output": output, "error": None, "errors": None, "waiting": None}
            found[path] = held.model_copy(update=changes | {"handled": False})
    return found


def _may_have_begun(recorded: Recorded, path: str) -> bool:
    """False of a step that is recorded only since the block around it never began."""
    around = block_of(path)
    return around == ROOT or around not in recorded.runs or recorded.runs[around].status != "skipped"


def _node_of(recorded: Recorded, name: str, paths: list[str]) -> str:
    return recorded.nodes[paths[0]] if paths and paths[0] in recorded.nodes else recorded.resolve(name) or name


def _child_around(recorded: Recorded, path: str) -> str | None:
    """The step whose child workflow a path leads into."""
    at = block_of(path)
    while at != ROOT:
        node = recorded.resolve(at)
        if node is not None:
            return at if recorded.plan.nodes[node].kind == "workflow" else None
        at = block_of(at)
    return None


def _only_path(recorded: Recorded, name: str) -> str:
    """Of a step that was not reached: its path, if there can be only one. Raises `UnknownStep`."""
    if name not in recorded.plan.nodes:
        return name  # a path
    path, node = name, recorded.plan.nodes[name]
    while node.owner != ROOT:
        around = recorded.plan.nodes[node.owner]
        many = isinstance(around.body, LoopBlock) or (isinstance(around.body, ParallelBlock) and around.body.do)
        if many and not node.beside_rounds:
            message = f"The step {name!r} can run many times in {node.owner!r} and has not run yet: give its path."
            raise UnknownStep(name, message)
        path, node = f"{node.owner}/{path}", around
    return path
