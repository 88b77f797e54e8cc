"""Names under which people write down credentials."""

import re
from typing import cast

from studio.contracts.base import Json, JsonObject

_NAMES = re.compile(
    r"(^|[-_.])(api[-_]?key|(access|secret|private|account|subscription)[-_]?key|secret|password|passwd|authorization"
    r"|credentials?|(access|auth|api|ad|bearer|hf|refresh|security|session)[-_]?token)$|^(token|bearer)$",
    re.IGNORECASE,
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def find_secret_name(value: Json) -> str | None:
    """The first name inside of a JSON value that stands for a credential and has a text: a JSON Schema may have a
    property `password`, whose value is no text.
    """
    open_values: list[Json] = [value]
    while open_values:
        held: Json = open_values.pop()
        if isinstance(held, list):
            open_values.extend(cast("list[Json]", held))
        elif isinstance(held, dict):
            for name, inner in cast("JsonObject", held).items():
                if isinstance(inner, str) and inner and _NAMES.search(_CAMEL.sub("_", name)):
                    return name
                open_values.append(inner)
    return None
