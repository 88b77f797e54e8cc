"""CEL's grammar. Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax."""

import difflib
from collections.abc import Callable
from typing import TypeVar, cast

from studio.cel.errors import SyntaxFault
from studio.cel.functions import FUNCTIONS, MACROS, UNCLAIMED
from studio.cel.lexer import RESERVED, Token, tokens
from studio.cel.nodes import (
    Access,
    Call,
    Choice,
    Comprehension,
    Constant,
    Has,
    ListOf,
    Logic,
    Macro,
    MapOf,
    Name,
    Node,
    Operation,
    Operator,
    Repeated,
)
from studio.cel.values import INT_MAX, QUALIFIED_TYPES, TYPES, UInt

_LITERALS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_LEVELS = {
    "||": 0,
    "&&": 1,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), 2),
    **dict.fromkeys(("+", "-"), 3),
    **dict.fromkeys(("*", "/", "%"), 4),
}
_MAX_NESTING = 100
"""Two for a bracket, one for an operand of another level: the stack of the parser and of the evaluation stays small."""
ItemT = TypeVar("ItemT")


def parse(source: str) -> Node:
    """Raises `SyntaxFault`."""
    parser = _Parser(tokens(source))
    node = parser.expression()
    parser.end()
    return node


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._place = 0
        self._depth = 0
        self._bound: list[str] = []

    @property
    def _next(self) -> Token:
        return self._tokens[self._place]

    def _take(self) -> Token:
        token = self._next
        self._place += 1
        return token

    def _is(self, *marks: str) -> bool:
        return self._next.kind in {"mark", "name"} and self._next.text in marks

    def _skip(self, mark: str) -> bool:
        if self._is(mark):
            self._place += 1
            return True
        return False

    def _expect(self, mark: str) -> None:
        if not self._skip(mark):
            self._unexpected(f"{mark!r} is missing")

    def _unexpected(self, wanted: str) -> None:
        token = self._next
        raise SyntaxFault(f"{wanted} before {token.text if token.kind == 'end' else repr(token.text)}", token.at)

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > _MAX_NESTING:
            raise SyntaxFault("nested too deeply", self._next.at)

    def end(self) -> None:
        if self._next.kind != "end":
            self._unexpected("an operator is missing")

    def expression(self) -> Node:
        self._enter()
        cases: list[tuple[Node, Node]] = []
        node = self._binary(0)
        while self._skip("?"):
            chosen = self._binary(0)
            if self._is("?"):
                self._unexpected("brackets are missing around the inner ?:")
            self._expect(":")
            cases.append((node, chosen))
            node = self._binary(0)
        self._depth -= 1
        return Choice(tuple(cases), node) if cases else node

    def _binary(self, least: int) -> Node:
        """Operators of the level `least` and of those that bind closer."""
        self._enter()
        node = self._unary()
        while (level := self._level()) is not None and level >= least:
            rest: list[tuple[str, Node]] = []
            while self._level() == level:
                rest.append((self._take().text, self._binary(level + 1)))
            node = _operation(node, rest)
        self._depth -= 1
        return node

    def _level(self) -> int | None:
        return _LEVELS.get(self._next.text) if self._next.kind in {"mark", "name"} else None

    def _unary(self) -> Node:
        times, operator = 0, self._next.text
        while self._next.kind == "mark" and operator in {"!", "-"} and self._skip(operator):
            times += 1
        if times == 0:
            return self._member()
        if operator == "-" and self._is_number():
            token = self._take()
            number = Constant(-token.value)
            return Repeated("-", times - 1, number) if times > 1 else self._postfix(number)
        return Repeated("!" if operator == "!" else "-", times, self._member())

    def _is_number(self) -> bool:
        value = self._next.value
        return self._next.kind == "value" and isinstance(value, int | float) and not isinstance(value, UInt)

    def _member(self) -> Node:
        return self._postfix(self._primary())

    def _postfix(self, node: Node) -> Node:
        entered = self._depth
        parts: list[str | Node] = []
        while True:
            if self._skip("."):
                name = self._take()
                if name.kind != "name" or name.text in _LITERALS or name.text == "in":
                    self._place -= 1
                    self._unexpected('a field\'s name is missing; other names are written as x["a name"],')
                if self._is("("):
                    self._enter()
                    node, parts = self._method(_accessed(node, parts), name), []
                else:
                    parts.append(name.text)
            elif self._skip("["):
                parts.append(self.expression())
                self._expect("]")
            else:
                self._depth = entered
                return _accessed(node, parts)

    def _primary(self) -> Node:
        token = self._take()
        if token.kind == "value":
            if not isinstance(token.value, UInt) and isinstance(token.value, int) and token.value > INT_MAX:
                raise SyntaxFault(f"the number {token.text} needs more than 64 bits", token.at)
            return Constant(token.value)
        if token.kind == "name":
            return self._named(token)
        match token.text:
            case "(":
                node = self.expression()
                self._expect(")")
                return node
            case "[":
                return ListOf(tuple(self._many("]", self.expression)))
            case "{":
                return MapOf(tuple(self._many("}", self._entry)))
            case _:
                self._place -= 1
                self._unexpected("a value is missing")
                raise AssertionError

    def _named(self, token: Token) -> Node:
        if self._is("("):
            return self._function(token)
        if token.text in _LITERALS:
            return Constant(_LITERALS[token.text])
        if token.text in RESERVED:
            raise SyntaxFault(f"{token.text!r} is a word of CEL, and names nothing", token.at)
        if token.text in TYPES and token.text not in self._bound:
            return Constant(TYPES[token.text])
        return Name(token.text)

    def _entry(self) -> tuple[Node, Node]:
        key = self.expression()
        self._expect(":")
        return key, self.expression()

    def _many(self, closing: str, one: Callable[[], ItemT]) -> list[ItemT]:
        """As far as the closing bracket. Lists and maps may end in a comma."""
        found: list[ItemT] = []
        while not self._skip(closing):
            found.append(one())
            if not self._skip(","):
                self._expect(closing)
                break
            if closing == ")" and self._is(closing):
                self._unexpected("a value is missing")
        return found

    def _function(self, name: Token) -> Node:
        self._check_known(name)
        self._expect("(")
        if name.text == "has":
            (asked, *more) = self._many(")", self.expression) or [Constant(None)]
            if more or not isinstance(asked, Access) or not isinstance(asked.parts[-1], str):
                raise SyntaxFault("`has` takes one field: has(input.x)", name.at)
            return Has(_accessed(asked.of, list(asked.parts[:-1])), asked.parts[-1])
        if name.text in MACROS or FUNCTIONS[name.text].form == "member":
            raise SyntaxFault(f"`{name.text}` stands behind what it is of: x.{name.text}(…)", name.at)
        return self._call(name, self._many(")", self.expression))

    def _method(self, target: Node, name: Token) -> Node:
        self._check_known(name)
        self._expect("(")
        if name.text in MACROS:
            return self._comprehension(target, name)
        if FUNCTIONS[name.text].form == "global":
            raise SyntaxFault(f"`{name.text}` stands before what it takes: {name.text}(x)", name.at)
        return self._call(name, [target, *self._many(")", self.expression)])

    def _call(self, name: Token, arguments: list[Node]) -> Node:
        counts = FUNCTIONS[name.text].counts
        if len(arguments) not in counts:
            wanted = " or ".join(str(count) for count in counts)
            message = f"`{name.text}` takes {wanted} argument{'s' if counts != (1,) else ''}, not {len(arguments)}"
            raise SyntaxFault(f"{message}, what it is of counted" if counts != (1,) else message, name.at)
        return Call(name.text, tuple(arguments))

    def _comprehension(self, target: Node, name: Token) -> Node:
        if name.text == "has":
            raise SyntaxFault("`has` takes one field: has(input.x)", name.at)
        variable = self._take()
        if variable.kind != "name" or variable.text in RESERVED or not self._skip(","):
            raise SyntaxFault(f"`{name.text}` takes a name for the item and what to ask of it: (x, …)", name.at)
        self._bound.append(variable.text)
        bodies = self._many(")", self.expression)
        self._bound.pop()
        if not 1 <= len(bodies) <= (2 if name.text == "map" else 1):
            raise SyntaxFault(f"`{name.text}` takes a name for the item and what to ask of it: (x, …)", name.at)
        macro = cast("Macro", "exists_one" if name.text == "existsOne" else name.text)
        kept = bodies[0] if len(bodies) > 1 else None
        return Comprehension(macro, target, variable.text, bodies[-1], kept)

    def _check_known(self, name: Token) -> None:
        if name.text in FUNCTIONS or name.text in MACROS:
            return
        hint = UNCLAIMED.get(name.text)
        close = difflib.get_close_matches(name.text, [*FUNCTIONS, *MACROS], 1) if hint is None else []
        also = f"; did you mean {close[0]!r}?" if close else ""
        raise SyntaxFault(f"there is no function {name.text!r}{also}", hint=hint)


def _operation(first: Node, rest: list[tuple[str, Node]]) -> Node:
    operator = rest[0][0]
    if operator in {"&&", "||"}:
        return Logic("||" if operator == "||" else "&&", (first, *(operand for _, operand in rest)))
    return Operation(first, tuple((cast("Operator", sign), operand) for sign, operand in rest))


def _accessed(node: Node, parts: list[str | Node]) -> Node:
    if not parts:
        return node
    if isinstance(node, Name) and (node.name, *parts) in QUALIFIED_TYPES:
        return Constant(QUALIFIED_TYPES[cast("tuple[str, str, str]", (node.name, *parts))])
    if isinstance(node, Access):
        return Access(node.of, (*node.parts, *parts))
    return Access(node, tuple(parts))
