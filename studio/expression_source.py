"""The source of an expression as text: what it names, and the rewriting that lets `Budget` count what it costs."""

import re
from dataclasses import dataclass

STRING = re.compile(
    r"""[rRbB]{0,2}(?:'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\"|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")""",
    re.DOTALL,
)
_COMMENT = re.compile(f"({STRING.pattern})|//[^\n]*", re.DOTALL)
_MACRO = "map|filter|all|exists_one|existsOne|exists"
_COMPREHENSION = re.compile(rf"\.\s*({_MACRO})\s*\(")
_BOUND = re.compile(rf"\.\s*(?:{_MACRO})\s*\(\s*([A-Za-z_]\w*)\s*,")
_CALL = re.compile(r"([A-Za-z_]\w*)\s*\(")
_MATCHES = re.compile(r"(?<!\w)matches(?=\s*\()")
_NAME = re.compile(r"[A-Za-z0-9_]+$")
_IN = re.compile(r"(?:[0-9][0-9A-Fa-fxu]*)?in")  # the operator, also right after a number
_MENTION = re.compile(r"(?<!\w)[A-Za-z_]\w*(?!\w)")
_FIELD = re.compile(r"""\s*\.\s*([A-Za-z_]\w*)(?!\w|\s*\()|\s*\[\s*(?:"([^"\\]*)"|'([^'\\]*)')\s*\]""")
_WORDS = frozenset({"true", "false", "null", "in"})
_ORDERED, _MADE, _KEPT, _MATCHED = "_ordered", "_made", "_kept", "_matches"


@dataclass(frozen=True)
class Mentions:
    """The names in a part of an expression, one for each time that it names them."""

    names: tuple[str, ...]
    joins: int
    """1, and 1 for each `+`: a chain of them copies what it has so far each time."""
    bound: str = ""
    """The variable of the comprehension whose body it is."""


def without_comments(source: str) -> str:
    """Strings stay as they are."""
    return _COMMENT.sub(lambda match: match.group(1) or " ", source)


def count_comprehensions(code: str) -> int:
    return len(_COMPREHENSION.findall(_blanked(code)))


def called_in(code: str) -> set[str]:
    """Functions, methods and macros."""
    return {match.group(1) for match in _CALL.finditer(_blanked(code))} - _WORDS


def bound_in(code: str) -> set[str]:
    """The variables of its comprehensions."""
    return {match.group(1) for match in _BOUND.finditer(_blanked(code))}


def paths_in(code: str) -> list[tuple[str, ...]]:
    """Every top-level name with the fields that follow it: `("input", "rows")` for `input["rows"][0].name`."""
    text = _blanked(code)
    return [_path_at(code, match) for match in _MENTION.finditer(text) if _is_mention(text, match)]


def mentions_in(code: str) -> Mentions:
    return _mentions(_blanked(code), 0, len(code))


def bodies_in(code: str) -> tuple[Mentions, ...]:
    """What each comprehension mentions in its body, in their order."""
    text = _blanked(code)
    found: list[Mentions] = []
    for match in _COMPREHENSION.finditer(text):
        commas, end = _arguments(text, match.end())
        start = commas[0] if commas else end
        found.append(_mentions(text, start, end, text[match.end() : start].strip()))
    return tuple(found)


def _mentions(text: str, start: int, end: int, bound: str = "") -> Mentions:
    names = [match.group() for match in _MENTION.finditer(text, start, end) if _is_mention(text, match)]
    return Mentions(tuple(names), 1 + text.count("+", start, end), bound)


def _is_mention(text: str, match: re.Match[str]) -> bool:
    is_field = text[: match.start()].rstrip().endswith(".")
    return not (is_field or match.group() in _WORDS or _CALL.match(text, match.start()))


def _path_at(code: str, name: re.Match[str]) -> tuple[str, ...]:
    path = [name.group()]
    position = name.end()
    while match := _FIELD.match(code, position):
        path.append(next(part for part in match.groups() if part is not None))
        position = match.end()
    return tuple(path)


def metered(code: str) -> str:
    """Put receiver and results of every comprehension through the functions of `Budget`, and `matches` too."""
    text = _blanked(code)
    for match in reversed(list(_MATCHES.finditer(text))):
        code = f"{code[: match.start()]}{_MATCHED}{code[match.end() :]}"
    return _meter(code)


def _meter(source: str) -> str:
    position = place = 0
    while match := _COMPREHENSION.search(text := _blanked(source), position):
        source = _meter_body(source, text, match, place)
        start = _receiver_start(text, match.start())
        opening = f" {_ORDERED}({place}, "
        source = f"{source[:start]}{opening}{source[start : match.start()]}){source[match.start() :]}"
        position = match.end() + len(opening) + 1
        place += 1
    return source


def _meter_body(source: str, text: str, match: re.Match[str], place: int) -> str:
    commas, end = _arguments(text, match.end())
    if not commas:
        return source  # the compiler says what is wrong
    body = source[commas[-1] + 1 : end]
    match match.group(1):
        case "map":
            wrapped = f"{_MADE}({place}, {body})"
        case "filter":
            wrapped = f"{_KEPT}({place}, {source[match.end() : commas[0]]}, {body})"
        case _:
            wrapped = body
    return f"{source[: commas[-1] + 1]}{wrapped}{source[end:]}"


def _arguments(text: str, start: int) -> tuple[list[int], int]:
    """The commas of the argument list that begins at `start`, and its end."""
    depth = 0
    commas: list[int] = []
    for position in range(start, len(text)):
        if text[position] in "([{":
            depth += 1
        elif text[position] in ")]}":
            if depth == 0:
                return commas, position
            depth -= 1
        elif text[position] == "," and depth == 0:
            commas.append(position)
    return [], len(text)


def _blanked(source: str) -> str:
    return STRING.sub(lambda match: "'" * len(match.group()), source)


def _receiver_start(text: str, end: int) -> int:
    """Where the member expression that ends before `end` begins: names, calls, indexes and literals."""
    position = end
    while True:
        position = len(text[:position].rstrip())
        closing = text[position - 1 : position]
        if closing and closing in ")]}":
            position = _opening(text, position - 1)
            name = _name_before(text, position) if closing != "}" else None
            if name is None and closing == "]" and text[:position].rstrip()[-1:] in {")", "]", "}"}:
                continue  # an index into the result of a call or an index, or into a literal
            position = name.start() if name else position
        else:
            name = _name_before(text, position)
            position = name.start() if name else position
        before = text[:position].rstrip()
        if not before.endswith("."):
            return position
        position = len(before) - 1


def _name_before(text: str, position: int) -> re.Match[str] | None:
    name = _NAME.search(text[:position])
    return None if name and _IN.fullmatch(name.group()) else name


def _opening(text: str, closing: int) -> int:
    depth = 0
    for position in range(closing, -1, -1):
        if text[position] in ")]}":
            depth += 1
        elif text[position] in "([{":
            depth -= 1
            if depth == 0:
                return position
    return 0  # unbalanced: the compiler says so
