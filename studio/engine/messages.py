"""The messages that open a conversation."""

from typing import cast

import orjson

from studio.contracts.activities import Opening
from studio.contracts.base import Json, JsonObject
from studio.contracts.prompts import Rendered
from studio.errors import InvalidInput
from studio.templates import TemplateTimeout, render_text

_MAX_LISTED = 20


def opening_messages(opening: Opening) -> list[JsonObject]:
    """System message (if there are instructions) and user message. Raises `InvalidInput` when a template fails."""
    messages: list[JsonObject] = []
    if opening.instructions is not None:
        content = _rendered("instructions", opening.instructions, opening.input)
        messages.append({"role": "system", "content": content})
    messages.append({"role": "user", "content": user_text(opening.message, opening.input)})
    return messages


def prompt_messages(rendered: Rendered, message: str | None, given: Json) -> list[JsonObject]:
    """A text is the system message. The user message follows unless the prompt ends with one of its own.

    Raises `InvalidInput` when the `message` template fails.
    """
    messages = list(rendered.messages or [])
    if rendered.text is not None:
        messages.append({"role": "system", "content": rendered.text})
    if message is not None or not messages or messages[-1]["role"] != "user":
        messages.append({"role": "user", "content": user_text(message, given)})
    return messages


def user_text(message: str | None, given: Json) -> str:
    """The `message` template over the input; without one the input's text, its `message`, or its JSON."""
    if message is not None:
        return _rendered("message", message, given)
    if isinstance(given, str):
        return given
    if isinstance(given, dict):
        own = cast("JsonObject", given).get("message")
        if isinstance(own, str):
            return own
    return "" if given is None else orjson.dumps(given).decode()


def _rendered(field: str, template: str, given: Json) -> str:
    try:
        return render_text(template, template_variables(given))
    except TemplateTimeout:
        raise
    except InvalidInput as error:
        undefined = any(fault.type == "undefined" for fault in error.errors)
        told = f" {_known_variables(given)}" if undefined else ""
        raise InvalidInput(f"`{field}`: {error.detail}{told}", errors=error.errors) from None


def _known_variables(given: Json) -> str:
    if not isinstance(given, dict):
        return "Its variables are the fields of the step's input, which is no object: its one variable is `input`."
    names = sorted(cast("JsonObject", given))
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return f"Its variables are the fields of the step's input: {', '.join(names[:_MAX_LISTED]) or 'none'}{more}."


def template_variables(given: Json) -> JsonObject:
    """An object's fields are the variables; anything else is the variable `input`."""
    return cast("JsonObject", given) if isinstance(given, dict) else {"input": given}
