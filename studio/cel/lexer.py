"""Tokens of CEL. Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from studio.cel.errors import SyntaxFault
from studio.cel.values import INT_MAX, UINT_MAX, UInt

STRING = re.compile(
    r"""(?:[rR][bB]?|[bB][rR])(?:'''[\s\S]*?'''|\"\"\"[\s\S]*?\"\"\"|'[^'\n]*'|"[^"\n]*")"""
    r"""|[bB]?(?:'''(?:\\[\s\S]|[^\\])*?'''|\"\"\"(?:\\[\s\S]|[^\\])*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")"""
)
RESERVED = frozenset({
    *("true", "false", "null", "in"),
    *("as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package"),
    *("namespace", "return", "var", "void", "while"),
})  # fmt: skip
"""Words that name nothing in CEL."""

_TOKEN = re.compile(
    rf"""(?P<space>[ \t\r\n\f]+|//[^\n]*)
    |(?P<double>(?:\d+)?\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)
    |(?P<int>(?:0x[0-9a-fA-F]+|\d+)[uU]?)
    |(?P<text>{STRING.pattern.replace(" ", "[ ]")})
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<mark>&&|\|\||==|!=|<=|>=|[-+*/%!<>?:.,()\[\]{{}}])""",
    re.VERBOSE | re.ASCII,
)
_MAX_DIGITS = 20
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|([\s\S]))")
_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    **{character: character for character in "\\?\"'`"},
}
_LAST_CHARACTER = 0x10FFFF
_SURROGATES = range(0xD800, 0xE000)


@dataclass(frozen=True, slots=True)
class Token:
    kind: Literal["value", "name", "mark", "end"]
    text: str
    at: int
    """The character, from 1."""
    value: Any = None


def tokens(source: str) -> list[Token]:
    """Raises `SyntaxFault`."""
    found: list[Token] = []
    position = 0
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None:
            character = source[position]
            message = "a text that does not end" if character in "'\"" else f"{character!r} is no part of CEL"
            raise SyntaxFault(message, position + 1)
        text, at = match.group(), position + 1
        match match.lastgroup:
            case "double":
                found.append(Token("value", text, at, _double(text, at)))
            case "int":
                found.append(Token("value", text, at, _whole(text, at)))
            case "text":
                found.append(Token("value", text, at, _literal(text, at)))
            case "name":
                found.append(Token("name", text, at))
            case "mark":
                found.append(Token("mark", text, at))
            case _:
                pass
        position = match.end()
    found.append(Token("end", "its end", len(source) + 1))
    return found


def _double(text: str, at: int) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise SyntaxFault(f"the number {text[:40]} is too large", at)
    return value


def _whole(text: str, at: int) -> int:
    """One above `INT_MAX` is let through, so that a minus before it may make it the smallest number."""
    digits = text.rstrip("uU")
    value = int(digits, 16 if digits.startswith("0x") else 10) if len(digits) <= _MAX_DIGITS else UINT_MAX + 1
    unsigned = digits != text
    if value > (UINT_MAX if unsigned else INT_MAX + 1):
        raise SyntaxFault(f"the number {text[:40]} needs more than 64 bits", at)
    return UInt(value) if unsigned else value


def _literal(text: str, at: int) -> str | bytes:
    quote = min(position for position in (text.find("'"), text.find('"')) if position >= 0)
    prefix, body = text[:quote].lower(), text[quote:]
    width = 3 if body.startswith(("'''", '"""')) else 1
    body = body[width:-width]
    if "b" in prefix:
        return body.encode() if "r" in prefix else _as_bytes(body, at)
    return body if "r" in prefix else _ESCAPE.sub(lambda match: _unescaped(match, at), body)


def _unescaped(match: re.Match[str], at: int) -> str:
    hexadecimal = match.group(1) or match.group(2) or match.group(3)
    if hexadecimal or match.group(4):
        code = int(hexadecimal, 16) if hexadecimal else int(match.group(4), 8)
        if code > _LAST_CHARACTER or code in _SURROGATES:
            raise SyntaxFault(f"{match.group()} is no character", at + match.start())
        return chr(code)
    return _simple(match, at)


def _simple(match: re.Match[str], at: int) -> str:
    escaped = _ESCAPES.get(match.group(5))
    if escaped is None:
        raise SyntaxFault(
            f"{match.group()!r} is no escape in a text", at + match.start(), r"write \\ for \, or a raw text: r'\d+'"
        )
    return escaped


def _as_bytes(body: str, at: int) -> bytes:
    pieces: list[bytes] = []
    position = 0
    for match in _ESCAPE.finditer(body):
        pieces.append(body[position : match.start()].encode())
        position = match.end()
        if match.group(2) or match.group(3):
            raise SyntaxFault(f"{match.group()} is no byte", at + match.start())
        code = int(match.group(1), 16) if match.group(1) else int(match.group(4), 8) if match.group(4) else None
        pieces.append(_simple(match, at).encode() if code is None else bytes([code]))
    return b"".join([*pieces, body[position:].encode()])
