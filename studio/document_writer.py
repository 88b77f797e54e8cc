"""YAML as a person would write it: block style, `|` for text of several lines, keys in their order.

What is written here is read back as the same value by `studio.documents`. Words that YAML 1.1 takes for other types
are quoted too, so that older readers agree.
"""

import re
from collections.abc import Iterator, Sequence
from typing import cast

import orjson

from studio.contracts.base import Json

_WORD = re.compile(r"[A-Za-z_$/][^\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]*")
"""What a plain scalar may look like here; numbers, indicators and the empty text are quoted."""
_RESERVED = frozenset({"null", "true", "false", "yes", "no", "on", "off"})
"""YAML 1.1 readers take these for other types."""
_LITERAL = re.compile(r"[^\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]*")
_ESCAPED = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_MAX_SIMPLE_KEY = 900
"""A key may take 1,024 characters before its colon (YAML 1.2.2 section 7.4.2)."""


def dump_document(value: Json) -> str:
    return "\n".join(_document(value)) + "\n"


def join_documents(texts: Sequence[str]) -> str:
    """Several documents are separated by `---`."""
    return texts[0] if len(texts) == 1 else "".join(f"---\n{text}" for text in texts)


def _document(value: Json) -> Iterator[str]:
    if isinstance(value, dict | list) and value:
        yield from _block(value, 0)
    else:
        yield orjson.dumps(value).decode() if not isinstance(value, str) else _quoted(value)


def _block(value: Json, indent: int) -> Iterator[str]:
    """The lines of a mapping or a list that is not empty, each with its indentation."""
    margin = " " * indent
    if isinstance(value, dict):
        for key, item in cast("dict[str, Json]", value).items():
            written = _inline_text(key)
            if len(written) > _MAX_SIMPLE_KEY:
                yield f"{margin}? {written}"
                yield from _entry(f"{margin}:", item, indent)
            else:
                yield from _entry(f"{margin}{written}:", item, indent)
    else:
        for item in cast("list[Json]", value):
            yield from _item(item, indent)


def _entry(head: str, value: Json, indent: int) -> Iterator[str]:
    if isinstance(value, dict | list) and value:
        yield head
        yield from _block(cast("Json", value), indent + 2)
    else:
        first, *rest = _scalar(value, indent)
        yield f"{head} {first}"
        yield from rest


def _item(value: Json, indent: int) -> Iterator[str]:
    margin = " " * indent
    if isinstance(value, dict | list) and value:
        first, *rest = _block(cast("Json", value), indent + 2)
        yield f"{margin}- {first[indent + 2 :]}"
        yield from rest
    else:
        yield from _entry(f"{margin}-", value, indent)


def _scalar(value: Json, indent: int) -> Iterator[str]:
    if not isinstance(value, str):
        yield orjson.dumps(value).decode()  # numbers, true, false, null, {} and []
    elif "\n" in value and _is_literal(value):
        yield from _literal(value, " " * (indent + 2))
    else:
        yield _inline_text(value)


def _inline_text(text: str) -> str:
    return text if _is_plain(text) else _quoted(text)


def _is_plain(text: str) -> bool:
    return (
        _WORD.fullmatch(text) is not None
        and text.lower() not in _RESERVED
        and ": " not in text
        and " #" not in text
        and text[-1] not in ": "
    )


def _quoted(text: str) -> str:
    encoded = orjson.dumps(text).decode()
    if "\\" in encoded and "'" not in text and _LITERAL.fullmatch(text) and "\n" not in text:
        return f"'{text}'"
    return _ESCAPED.sub(lambda match: f"\\u{ord(match[0]):04x}", encoded)


def _is_literal(text: str) -> bool:
    lines = text.split("\n")
    return (
        _LITERAL.fullmatch(text) is not None
        and not text.startswith(("\n", " "))
        and not any(line.endswith(" ") for line in lines)
    )


def _literal(text: str, margin: str) -> Iterator[str]:
    body = text.rstrip("\n")
    newlines = len(text) - len(body)
    yield "|" + {0: "-", 1: ""}.get(newlines, "+")
    yield from (margin + line if line else "" for line in body.split("\n"))
    yield from [""] * (newlines - 1)
