"""YAML 1.2 documents with the core schema, held to what JSON can say, and with the place of every value.

Dates, `no`, `0777` and `1_000` are what YAML 1.2 says they are: text, text, 777 and text. Duplicate keys, tags, merge
keys, NaN and infinity, and keys that are not text are refused, since each of them would silently mean something that
its author did not write.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from studio.contracts.base import Json
from studio.errors import FieldError, InvalidInput, PayloadTooLarge
from studio.yaml_messages import explain

MAX_CHARACTERS = 1024 * 1024
"""The parser reads about 150 KB a second, so this is seven seconds of it."""
MAX_DEPTH = 100
MAX_ALIAS_CHARACTERS = 4 * 1024 * 1024
"""What all aliases of a text may add when they are written out."""

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MAX_DIGITS = 25

Position = tuple[int, int]
"""Line and column, both from 1."""


@dataclass(slots=True)
class _Node:
    value: Json
    position: Position
    size: int
    """Characters when every alias is written out."""
    keys: dict[str, Position] = field(default_factory=dict[str, Position])
    children: "dict[str | int, _Node]" = field(default_factory=dict[str | int, "_Node"])


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a text. `value` is plain JSON."""

    value: Json
    _root: _Node
    text: str = ""
    """As it was written, comments included, without what separates it from the others."""

    def position(self, loc: Sequence[str | int]) -> Position:
        """Line and column, from 1, of what `loc` names: of the key in a mapping, of the item in a list.

        Where `loc` leads to something that is not there (a field that is missing), it is the place of what holds it.
        """
        node, found = self._root, self._root.position
        for part in loc:
            child = node.children.get(part)
            if child is None:
                break
            found = node.keys[part] if isinstance(part, str) else child.position
            node = child
        return found


def load_documents(text: str) -> list[Document]:
    """Read every document of a text; those that hold nothing but comments are left out.

    Raises `InvalidInput` with line and column, and `PayloadTooLarge` above `MAX_CHARACTERS`.
    """
    if len(text) > MAX_CHARACTERS:
        raise PayloadTooLarge(f"YAML may be at most {MAX_CHARACTERS} characters long; send it in parts, or as JSON.")
    text = text.removeprefix("\ufeff")
    reader = _Reader(text)
    try:
        for event in cast("Iterator[Any]", YAML(typ="safe", pure=True).parse(text)):
            reader.take(event)
    except MarkedYAMLError as error:
        mark = cast("Any", error.problem_mark or error.context_mark)
        parts = cast("list[str | None]", [error.context, error.problem])
        problem = ", ".join(part for part in parts if part)
        at, lines = cast("int", mark.line) if mark else 0, text.splitlines()
        message, hint = explain(problem, lines[at] if mark and at < len(lines) else "")
        _refuse((mark.line + 1, mark.column + 1) if mark else (1, 1), message, hint)
    except ReaderError as error:
        before = text[: cast("int", error.position)]
        _refuse((before.count("\n") + 1, len(before) - before.rfind("\n")), "a character that YAML does not allow")
    except (YAMLError, ValueError, OverflowError, IndexError, AssertionError) as error:
        # The parser's own slips on malformed escapes and directives.
        _refuse(reader.position, f"not YAML ({type(error).__name__})")
    return reader.documents


def _refuse(position: Position, message: str, hint: str | None = None) -> NoReturn:
    line, column = position
    error = FieldError(loc=[], msg=message, type="yaml", line=line, column=column, hint=hint)
    raise InvalidInput(f"line {line}, column {column}: {message}", errors=[error])


@dataclass(slots=True)
class _Open:
    """A mapping or a list whose end has not come yet."""

    node: _Node
    anchor: str | None
    key: str | None = None


class _Reader:
    """Builds documents out of the parser's events, without recursion."""

    def __init__(self, text: str) -> None:
        self.documents: list[Document] = []
        self._text = text
        self._begins: tuple[int, int] = (0, 0)
        """Of the document that is read: where its `---` begins, and where that ends."""
        self.position: Position = (1, 1)
        self._open: list[_Open] = []
        self._anchors: dict[str, _Node] = {}
        self._alias_characters = 0

    def take(self, event: Any) -> None:
        mark = event.start_mark
        self.position = (mark.line + 1, mark.column + 1)
        match type(event).__name__:
            case "DocumentStartEvent":
                self._anchors = {}
                if event.version not in {None, (1, 2)} or event.tags:
                    _refuse(self.position, "directives other than %YAML 1.2 are not allowed")
                self._begins = (mark.index, event.end_mark.index) if event.explicit else (0, 0)
            case "DocumentEndEvent":
                self._end(mark.index)
            case "ScalarEvent":
                self._scalar(event)
            case "AliasEvent":
                self._add(self._aliased(event.anchor), None)
            case "MappingStartEvent":
                self._begin({}, event)
            case "SequenceStartEvent":
                self._begin([], event)
            case "MappingEndEvent" | "SequenceEndEvent":
                done = self._open.pop()
                self._add(done.node, done.anchor)
            case _:
                pass

    def _end(self, index: int) -> None:
        marked, begins = self._begins
        if self.documents and not self.documents[-1].text:
            before = self._text[:marked] if len(self.documents) == 1 else ""  # comments at the head of the file
            comments = "".join(line for line in before.splitlines(keepends=True) if line.startswith("#"))
            written = comments + self._text[begins:index].lstrip("\r\n")
            self.documents[-1] = replace(self.documents[-1], text=written.rstrip() + "\n")

    def _begin(self, value: Json, event: Any) -> None:
        self._no_tag(event)
        if self._open:
            self._check_key_is_text(self._open[-1])
        if len(self._open) >= MAX_DEPTH:
            _refuse(self.position, f"nested more than {MAX_DEPTH} deep")
        self._open.append(_Open(_Node(value, self.position, 2), event.anchor))

    def _check_key_is_text(self, holder: _Open) -> None:
        if isinstance(holder.node.value, dict) and holder.key is None:
            _refuse(self.position, "a key must be text", 'put a text that begins with { in quotes: "{{ … }}"')

    def _no_tag(self, event: Any) -> None:
        if event.ctag is not None:
            _refuse(self.position, f"tags are not allowed: {event.ctag}")

    def _scalar(self, event: Any) -> None:
        self._no_tag(event)
        text: str = event.value
        if any("\ud800" <= character <= "\udfff" for character in text):
            _refuse(self.position, "half of a surrogate pair is not a character")
        plain = event.style is None
        holder = self._open[-1] if self._open else None
        if holder is not None and isinstance(holder.node.value, dict) and holder.key is None:
            self._key(holder, text, plain=plain)
            return
        if holder is None and plain and not text:
            return  # a document without content
        value = self._resolve(text) if plain else text
        self._add(_Node(value, self.position, len(text) + 1), event.anchor)

    def _key(self, holder: _Open, text: str, *, plain: bool) -> None:
        if plain and text == "<<":
            _refuse(self.position, "merge keys (<<) are not part of YAML 1.2", "write the fields out")
        if plain and not isinstance(self._resolve(text), str):
            _refuse(self.position, f"a key must be text, and {text or 'an empty key'} is not", f'write "{text}"')
        if text in holder.node.keys:
            first = holder.node.keys[text][0]
            _refuse(self.position, f"the key {text!r} is here twice; it was first on line {first}")
        holder.key = text
        holder.node.keys[text] = self.position
        holder.node.size += len(text) + 1

    def _resolve(self, text: str) -> Json:
        """The core schema (YAML 1.2.2 section 10.3.2)."""
        if text in _NULL:
            return None
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
        if _INT.fullmatch(text):
            number = int(text, 0 if text[:2] in {"0o", "0x"} else 10) if len(text) <= _MAX_DIGITS else 1 << 64
            if not -(1 << 63) <= number < 1 << 64:
                _refuse(self.position, "a whole number needs more than 64 bits", f'write it as text: "{text[:40]}"')
            return number
        if _FLOAT.fullmatch(text):
            number = float(text)
            if number in {float("inf"), float("-inf")}:
                _refuse(self.position, f"the number {text[:40]} is too large")
            return number
        if _NOT_FINITE.fullmatch(text):
            _refuse(self.position, f"{text} has no JSON form", f'write it as text: "{text}"')
        return text

    def _aliased(self, anchor: str) -> _Node:
        node = self._anchors.get(anchor)
        if node is None:
            _refuse(self.position, f"there is no finished anchor &{anchor} before this alias")
        self._alias_characters += node.size
        if self._alias_characters > MAX_ALIAS_CHARACTERS:
            _refuse(self.position, f"aliases expand to more than {MAX_ALIAS_CHARACTERS} characters")
        return node

    def _add(self, node: _Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._open:
            self.documents.append(Document(node.value, node))
            return
        holder = self._open[-1]
        self._check_key_is_text(holder)
        holder.node.size += node.size
        if holder.key is None:
            items = cast("list[Json]", holder.node.value)
            holder.node.children[len(items)] = node
            items.append(node.value)
        else:
            cast("dict[str, Json]", holder.node.value)[holder.key] = node.value
            holder.node.children[holder.key] = node
            holder.key = None
