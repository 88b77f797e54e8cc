"""What a run is given on the command line: JSON, `@FILE` or `key=value`."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import orjson
import typer

from studio.contracts.base import Json
from studio.documents import load_documents
from studio.errors import InvalidInput, StudioError

_PAIR = re.compile(r"([A-Za-z_][A-Za-z0-9_.-]*)=(.*)", re.DOTALL)
_OPTION = "--input"


def parse_input(values: Sequence[str]) -> Json:
    """The run's input; None without values.

    One value may be JSON, or `@FILE` (`@-` is standard input) with JSON or YAML. Each other value is `key=value`,
    which adds a field: `value` is JSON if it reads as JSON, `@FILE` is the file's text, and everything else is text.
    Raises `typer.BadParameter`.
    """
    fields: dict[str, Json] = {}
    whole: list[Json] = []
    for value in values:
        if match := _PAIR.fullmatch(value):
            if match[1] in fields:
                raise _wrong(f"{match[1]!r} is given twice.")
            fields[match[1]] = _field(match[2])
        else:
            whole.append(_whole(value, "JSON, @FILE or key=value"))
    if len(whole) > 1:
        raise _wrong("JSON or @FILE can be given once; add single fields with key=value.")
    if not whole:
        return fields or None
    if fields:
        if not isinstance(whole[0], dict):
            raise _wrong("key=value adds a field, so the JSON beside it must be an object.")
        return cast("dict[str, Json]", whole[0]) | fields
    return whole[0]


def parse_json(text: str, option: str) -> Json:
    """JSON, or `@FILE` (`@-` is standard input) with JSON or YAML, given as `option`. Raises `typer.BadParameter`."""
    try:
        return _whole(text, "JSON or @FILE")
    except typer.BadParameter as error:
        error.param_hint = option
        raise


def parse_version(text: str | None) -> int | Literal["latest"] | None:
    """What `--version` names. Raises `typer.BadParameter`."""
    if text is None or text == "latest":
        return text
    if not text.isdecimal() or int(text) == 0:
        raise typer.BadParameter("write a version's number, or latest", param_hint="--version")
    return int(text)


def parse_by_step(values: Sequence[str], option: str) -> dict[str, Json]:
    """`step=JSON` or `step=@FILE`, given as `option`, by step. Raises `typer.BadParameter`."""
    found: dict[str, Json] = {}
    for value in values:
        step, separator, text = value.partition("=")
        if not separator or not step:
            raise typer.BadParameter(f"{value!r} is not STEP=JSON.", param_hint=option)
        if step in found:
            raise typer.BadParameter(f"{step!r} is given twice.", param_hint=option)
        found[step] = parse_json(text, option)
    return found


def parse_metadata(values: Sequence[str]) -> dict[str, str]:
    """`key=value` pairs; the values stay text. Raises `typer.BadParameter`."""
    pairs: dict[str, str] = {}
    for value in values:
        key, separator, text = value.partition("=")
        if not separator or not key:
            raise typer.BadParameter(f"{value!r} is not key=value.", param_hint="--metadata")
        pairs[key] = text
    return pairs


def _field(text: str) -> Json:
    if text.startswith("@"):
        return _read(text[1:])
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _whole(text: str, forms: str) -> Json:
    if text.startswith("@"):
        return _document(text[1:])
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _wrong(
            f"{_short(text)} is not {forms} ({error.msg} at character {error.pos + 1}). "
            """Write plain text as JSON text: '"text"'."""
        ) from None


def _document(path: str) -> Json:
    text = _read(path)
    if path.endswith((".yaml", ".yml")):
        try:
            documents = load_documents(text)
        except InvalidInput as error:
            place = error.errors[0]
            raise _wrong(f"{path}:{place.line}:{place.column}: {place.msg}") from None
        except StudioError as error:
            raise _wrong(f"{path}: {error.detail}") from None
        if len(documents) != 1:
            raise _wrong(f"{path} must hold one document, and holds {len(documents)}.")
        return documents[0].value
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _wrong(f"{path}:{error.lineno}:{error.colno}: {error.msg}") from None


def _read(path: str) -> str:
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise _wrong(f"{path!r} is not text in UTF-8.") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _wrong(f"cannot read {path!r}: {reason}. (A text that begins with @ is written '\"@…\"'.)") from None


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")


def _wrong(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint=_OPTION)
