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
    if found:
        return found
    before = leads_to(block)
    return _unreachable(block, before, loc) or [*_joins(block, before, loc), *_endless(block, loc)]


def _error(loc: Loc, message: str, kind: str, ids: Iterable[str] = (), hint: str | None = None) -> FieldError:
    hint = f"nodes are {', '.join(list(ids)[:20])}" if ids else hint
    return FieldError(loc=list(loc), msg=message, type=kind, hint=hint)


def leads_to(block: GraphBlock) -> dict[str, set[str]]:
    """Of each node those from which it can be reached; itself too when it is in a cycle."""
    return _leading(block, block.edges)


def _leading(block: GraphBlock, edges: Iterable[Edge]) -> dict[str, set[str]]:
    """Sets as bits of whole numbers, since there may be thousands of nodes in a ring."""
    ids = [node.id for node in block.nodes]
    bit = {node: 1 << place for place, node in enumerate(ids)}
    into: dict[str, set[str]] = {node: set() for node in ids}
    for edge in edges:
        into[edge.target].add(edge.source)
    found = dict.fromkeys(ids, 0)
    grown = True
    while grown:
        grown = False
        for node, sources in into.items():
            reached = found[node]
            for source in sources:
                reached |= bit[source] | found[source]
            grown = grown or reached != found[node]
            found[node] = reached
    return {node: _members(bits, ids) for node, bits in found.items()}


def _members(bits: int, ids: Sequence[str]) -> set[str]:
    return {node for node, held in zip(ids, reversed(f"{bits:0{len(ids)}b}"), strict=True) if held == "1"}


def _unreachable(block: GraphBlock, before: dict[str, set[str]], loc: Loc) -> list[FieldError]:
    targets = {edge.target for edge in block.edges}
    starts = {block.start} if block.start is not None else before.keys() - targets
    if not starts:
        return [_error((*loc, "nodes"), "every node has an edge into it: say with `start` where to begin", "no_start")]
    return [
        _error((*loc, "nodes", index), f"nothing leads to the node {node.id!r}", "unreachable_node", hint=_UNREACHED)
        for index, node in enumerate(block.nodes)
        if node.id not in starts and not before[node.id] & starts
    ]


def _joins(block: GraphBlock, before: dict[str, set[str]], loc: Loc) -> list[FieldError]:
    found: list[FieldError] = []
    into: dict[str, list[Edge]] = {node.id: [] for node in block.nodes}
    for edge in block.edges:
        into[edge.target].append(edge)
    for index, node in enumerate(block.nodes):
        if not isinstance(node.join, AtLeast) or node.join.at_least <= 1:
            continue
        edges = into[node.id]
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
    before = _leading(block, [edge for edge in block.edges if edge.when is True])
    rings = {node for node in before if node in before[node]}
    bounded = {node.id for node in block.nodes if node.id in rings and "max_visits" in node.model_fields_set}
    return [
        _error(
            (*loc, "nodes", index),
            f"the node {node.id!r} is in a cycle that never ends: give an edge of it a `when`, or a node `max_visits`",
            "endless_cycle",
        )
        for index, node in enumerate(block.nodes)
        if node.id in rings and not any(node.id in before[end] for end in bounded)
    ][:1]
