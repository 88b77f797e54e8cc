"""Static checks of a graph: edges that lead nowhere, nodes that nothing reaches, joins and cycles without an end."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from studio.contracts.joins import AtLeast
from studio.contracts.steps import Edge, GraphBlock
from studio.engine.expression_types import constant_of
from studio.engine.plan import Loc
from studio.errors import FieldError

_UNREACHED = "lead an edge to it from a node that runs, or name it as `start`"
_WHOLE = re.compile(r"\$\{\{\s*(.*?)\s*\}\}", re.DOTALL)
_EQUAL = re.compile(r"""([\w.\[\]'"]+)\s*==\s*('[^']*'|"[^"]*"|-?\d+|true|false)""")
_NEGATED = re.compile(r"""!\s*(?:\(([^()]*)\)|([\w.\[\]'"]+))""")


def graph_errors(block: GraphBlock, loc: Loc) -> list[FieldError]:
    ids = [node.id for node in block.nodes]
    found: list[FieldError] = []
    for index, edge in enumerate(block.edges):
        for field, node in (("from", edge.source), ("to", edge.target)):
            if node not in ids:
                found.append(_error((*loc, "edges", index, field), f"there is no node {node!r}", "unknown_node", ids))
    if block.start is not None and block.start not in ids:
        found.append(_error((*loc, "start"), f"there is no node {block.start!r}", "unknown_node", ids))
    return found or _unreachable(block, loc) or [*_joins(block, loc), *_endless(block, loc)]


def _error(loc: Loc, message: str, kind: str, ids: Iterable[str] = (), hint: str | None = None) -> FieldError:
    hint = f"nodes are {', '.join(list(ids)[:20])}" if ids else hint
    return FieldError(loc=list(loc), msg=message, type=kind, hint=hint)


def leads_to(block: GraphBlock) -> dict[str, set[str]]:
    """Of each node those from which it can be reached; itself too when it is in a cycle."""
    into: dict[str, set[str]] = {node.id: set() for node in block.nodes}
    for edge in block.edges:
        into[edge.target].add(edge.source)
    return {node: _closure(node, into) for node in into}


def _closure(node: str, step: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    pending = [node]
    while pending:
        new = step[pending.pop()] - found
        found |= new
        pending += new
    return found


def _unreachable(block: GraphBlock, loc: Loc) -> list[FieldError]:
    before = leads_to(block)
    targets = {edge.target for edge in block.edges}
    starts = {block.start} if block.start is not None else before.keys() - targets
    if not starts:
        return [_error((*loc, "nodes"), "every node has an edge into it: say with `start` where to begin", "no_start")]
    return [
        _error((*loc, "nodes", index), f"nothing leads to the node {node.id!r}", "unreachable_node", hint=_UNREACHED)
        for index, node in enumerate(block.nodes)
        if node.id not in starts and not before[node.id] & starts
    ]


def _joins(block: GraphBlock, loc: Loc) -> list[FieldError]:
    found: list[FieldError] = []
    before = leads_to(block)
    for index, node in enumerate(block.nodes):
        edges = [edge for edge in block.edges if edge.target == node.id]
        if not isinstance(node.join, AtLeast) or node.join.at_least <= 1:
            continue
        place = (*loc, "nodes", index, "join", "at_least")
        if node.join.at_least > len(edges):
            message = f"the join waits for {node.join.at_least} edges and {len(edges)} lead here"
            found.append(_error(place, message, "join_never_met"))
        elif not any(edge.source in before[edge.source] for edge in edges):  # in a cycle tokens add up
            together = _together(edges)
            if together < node.join.at_least:
                message = f"the join waits for {node.join.at_least} edges and at most {together} can be taken together"
                found.append(_error(place, message, "join_never_met"))
    return found


def _together(edges: Sequence[Edge]) -> int:
    """How many can be taken at most: of those that leave one node by different values of one thing, one does."""
    choices: dict[tuple[str, str], Counter[str]] = {}
    for number, edge in enumerate(edges):
        if constant_of(edge.when) is not False:
            subject, value = _choice(edge.when) or (str(number), "")
            choices.setdefault((edge.source, subject), Counter())[value] += 1
    return sum(max(counts.values()) for counts in choices.values())


def _choice(when: bool | str) -> tuple[str, str] | None:
    """For `${{ x == 'a' }}` x and 'a'; for `${{ x }}` and `${{ !(x) }}` x and true or false."""
    whole = _WHOLE.fullmatch(when) if isinstance(when, str) else None
    if whole is None:
        return None
    source = whole.group(1)
    if equal := _EQUAL.fullmatch(source):
        return equal.group(1), equal.group(2).replace('"', "'")
    if negated := _NEGATED.fullmatch(source):
        return (negated.group(1) or negated.group(2)).strip(), "false"
    return source, "true"


def _endless(block: GraphBlock, loc: Loc) -> list[FieldError]:
    """A cycle whose edges are all unconditional goes round until `max_visits`, which must then be somebody's wish."""
    always: dict[str, set[str]] = {node.id: set() for node in block.nodes}
    for edge in block.edges:
        if edge.when is True:
            always[edge.source].add(edge.target)
    rings = {node for node in always if node in _closure(node, always)}
    bounded = {node.id for node in block.nodes if "max_visits" in node.model_fields_set}
    return [
        _error(
            (*loc, "nodes", index),
            f"the node {node.id!r} is in a cycle that never ends: give an edge of it a `when`, or a node `max_visits`",
            "endless_cycle",
        )
        for index, node in enumerate(block.nodes)
        if node.id in rings and not (_closure(node.id, always) & rings & bounded)
    ][:1]
