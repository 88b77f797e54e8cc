"""What an expression names, read off its syntax tree."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from studio.cel.nodes import (
    Access,
    Choice,
    Comprehension,
    Constant,
    Has,
    ListOf,
    Logic,
    Name,
    Node,
    Operation,
    inner_nodes,
)

Path = tuple[str, ...]


@dataclass(frozen=True)
class Names:
    paths: frozenset[Path]
    """Every free name with the fields that follow it: `("input", "rows")` for `input["rows"][0].name`."""
    tested: frozenset[Path]
    """Those that `has` asks for, or `"x" in input`: they may not be there."""
    compared: frozenset[tuple[Path, str]]
    """A path that is compared with a text, by `==`, `!=` or `in [...]`, and the text."""

    walks: bool
    """Whether it has comprehensions."""

    guarded: bool
    """Whether parts of it may be left out: it chooses, or joins with `&&` or `||`."""

    @property
    def roots(self) -> frozenset[str]:
        return frozenset(path[0] for path in self.paths)


def names_of(node: Node) -> Names:
    paths: set[Path] = set()
    tested: set[Path] = set()
    compared: set[tuple[Path, str]] = set()
    walks = guarded = False
    for found, bound in _walk(node, frozenset()):
        match found:
            case Name() | Access() if (path := _path_of(found)) and path[0] not in bound:
                paths.add(path)
            case Has() if (path := _whole_path(found.of)) and path[0] not in bound:
                paths.add((*path, found.field))
                tested.add((*path, found.field))
            case Operation():
                tested |= {path for path in _searched(found) if path[0] not in bound}
                compared |= {(path, text) for path, text in _comparisons(found) if path[0] not in bound}
            case Comprehension():
                walks = guarded = True
            case Logic() | Choice():
                guarded = True
            case _:
                pass
    return Names(frozenset(paths), frozenset(tested), frozenset(compared), walks, guarded)


def _path_of(node: Node) -> Path | None:
    """The name with its fields, as far as they are constant texts; None of what begins otherwise."""
    if isinstance(node, Name):
        return (node.name,)
    if not isinstance(node, Access) or not isinstance(node.of, Name):
        return None
    fields: list[str] = []
    for part in node.parts:
        field = part.value if isinstance(part, Constant) else part
        if not isinstance(field, str):
            break
        fields.append(field)
    return (node.of.name, *fields)


def _whole_path(node: Node) -> Path | None:
    """The name with its fields where all of them are constant texts."""
    path = _path_of(node)
    return path if path and (isinstance(node, Name) or len(path) == 1 + len(cast("Access", node).parts)) else None


def plain_path(node: Node) -> tuple[str | int, ...] | None:
    """Of an expression that is nothing but the way to a value: `input.rows[0].name`."""
    if isinstance(node, Name):
        return (node.name,)
    if not isinstance(node, Access) or not isinstance(node.of, Name):
        return None
    parts = [part.value if isinstance(part, Constant) else part for part in node.parts]
    plain = [part for part in parts if isinstance(part, str | int) and not isinstance(part, bool)]
    return (node.of.name, *plain) if len(plain) == len(parts) else None


def _walk(node: Node, bound: frozenset[str]) -> Iterator[tuple[Node, frozenset[str]]]:
    """Every node, with the variables of the comprehensions around it."""
    yield node, bound
    if isinstance(node, Comprehension):
        yield from _walk(node.of, bound)
        for part in (node.kept, node.body):
            if part is not None:
                yield from _walk(part, bound | {node.variable})
        return
    if isinstance(node, Access) and isinstance(node.of, Name):
        for part in node.parts:
            if not isinstance(part, str):
                yield from _walk(part, bound)
        return
    if isinstance(node, Has) and _whole_path(node.of):
        return
    for inner in inner_nodes(node):
        yield from _walk(inner, bound)


def _searched(node: Operation) -> Iterator[Path]:
    """`"x" in input` asks for the field `input.x`."""
    left = node.first
    for operator, right in node.rest:
        path = _whole_path(right)
        if operator == "in" and path and isinstance(left, Constant) and isinstance(left.value, str):
            yield (*path, left.value)
        left = right


def _comparisons(node: Operation) -> Iterator[tuple[Path, str]]:
    if len(node.rest) != 1:
        return
    ((operator, right),) = node.rest
    if operator in {"==", "!="}:
        for one, other in ((node.first, right), (right, node.first)):
            path = _whole_path(one)
            if path and isinstance(other, Constant) and isinstance(other.value, str):
                yield path, other.value
    elif operator == "in" and isinstance(right, ListOf) and (path := _whole_path(node.first)):
        for item in right.items:
            if isinstance(item, Constant) and isinstance(item.value, str):
                yield path, item.value
