"""The syntax tree of an expression. Chains are flat, so that a long expression is not a deep one."""

from dataclasses import dataclass
from typing import Any, Literal

Operator = Literal["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "in"]
Macro = Literal["all", "exists", "exists_one", "filter", "map"]


@dataclass(frozen=True, slots=True)
class Constant:
    value: Any


@dataclass(frozen=True, slots=True)
class Name:
    name: str


@dataclass(frozen=True, slots=True)
class Access:
    """`of.field[index]`: a text is a field, a node an index."""

    of: "Node"
    parts: "tuple[str | Node, ...]"


@dataclass(frozen=True, slots=True)
class Has:
    of: "Node"
    field: str


@dataclass(frozen=True, slots=True)
class Call:
    """`target`, if there is one, is the first of `arguments`."""

    function: str
    arguments: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class ListOf:
    items: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class MapOf:
    entries: "tuple[tuple[Node, Node], ...]"


@dataclass(frozen=True, slots=True)
class Repeated:
    """`!x` or `-x`, `times` times."""

    operator: Literal["!", "-"]
    times: int
    of: "Node"


@dataclass(frozen=True, slots=True)
class Operation:
    """`first`, then each operator with what stands after it, from the left."""

    first: "Node"
    rest: "tuple[tuple[Operator, Node], ...]"


@dataclass(frozen=True, slots=True)
class Logic:
    operator: Literal["&&", "||"]
    parts: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Choice:
    """`condition ? chosen : … : otherwise`."""

    cases: "tuple[tuple[Node, Node], ...]"
    otherwise: "Node"


@dataclass(frozen=True, slots=True)
class Comprehension:
    """`body` is what is asked of each item; `kept`, of a `map` with three arguments, which of them count."""

    macro: Macro
    of: "Node"
    variable: str
    body: "Node"
    kept: "Node | None" = None


Node = Constant | Name | Access | Has | Call | ListOf | MapOf | Repeated | Operation | Logic | Choice | Comprehension


def inner_nodes(node: Node) -> "list[Node]":  # noqa: PLR0911 - one line a node
    """The nodes right inside a node, in the order of the source."""
    match node:
        case Constant() | Name():
            return []
        case Access():
            return [node.of, *(part for part in node.parts if not isinstance(part, str))]
        case Has() | Repeated():
            return [node.of]
        case Call():
            return list(node.arguments)
        case ListOf():
            return list(node.items)
        case MapOf():
            return [part for entry in node.entries for part in entry]
        case Operation():
            return [node.first, *(operand for _, operand in node.rest)]
        case Logic():
            return list(node.parts)
        case Choice():
            return [*(part for case in node.cases for part in case), node.otherwise]
        case Comprehension():
            return [node.of, *([node.kept] if node.kept is not None else []), node.body]
