"""Query parameters that a route does not declare are refused, so that a typo never passes silently."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Self
from urllib.parse import parse_qsl

from fastapi import Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.routing import APIRoute

from studio.errors import FieldError, InvalidInput

OPEN_END = ".KEY"
"""The end of a declared name that stands for any: `metadata.KEY`."""
MAX_NAMED = 20
"""Unknown parameters that an answer names: looking for names that are close to one takes a while."""


def open_parameter(prefix: str, description: str) -> dict[str, Any]:
    """`openapi_extra=` of a route that takes `PREFIX.KEY=value`, and reads that itself."""
    schema = {"type": "string"}
    name = prefix + OPEN_END
    return {"parameters": [{"name": name, "in": "query", "description": description, "schema": schema}]}


class DeclaredQuery:
    """The names of a route's query parameters."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._written = frozenset(name.encode() for name in self._names if not name.endswith(OPEN_END))
        self._prefixes = tuple(name.removesuffix("KEY") for name in self._names if name.endswith(OPEN_END))

    @classmethod
    def of(cls, route: APIRoute) -> Self:
        """Those of its signature and its dependencies, and those that its `openapi_extra` describes."""
        elsewhere = (params.Path, params.Header, params.Cookie)
        fields = [field for field in get_flat_params(route.dependant) if not isinstance(field.field_info, elsewhere)]
        extra: list[Mapping[str, Any]] = (route.openapi_extra or {}).get("parameters", [])
        return cls([*(field.alias for field in fields), *(one["name"] for one in extra if one["in"] == "query")])

    def check(self, request: Request) -> None:
        """Raises `InvalidInput` naming the parameters that there are not."""
        query: bytes = request.scope["query_string"]
        if not query or (b"&" not in query and query.partition(b"=")[0] in self._written):
            return
        given = dict.fromkeys(name for name, _ in parse_qsl(query.decode("latin-1"), keep_blank_values=True))
        unknown = [name for name in given if not self._declares(name)]
        if unknown:
            errors = [self._refused(name) for name in unknown[:MAX_NAMED]]
            first = errors[0]
            more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
            raise InvalidInput(f"query.{first.loc[1]}: {first.msg} ({first.hint}){more}", errors=errors)

    def _declares(self, name: str) -> bool:
        return name in self._names or any(len(name) > len(one) and name.startswith(one) for one in self._prefixes)

    def _refused(self, name: str) -> FieldError:
        close = difflib.get_close_matches(name, self._names, 1)
        known = f"parameters here are {', '.join(sorted(self._names))}" if self._names else "there are none here"
        hint = f"did you mean {close[0]!r}?" if close else known
        message = f"there is no query parameter {name!r}"
        return FieldError(loc=["query", name], msg=message, type="extra_forbidden", hint=hint)
