"""What the OpenAPI documents of all services say alike: problems, names of operations, links to what was created.

Endpoints declare their own successes and problems (`responses=problems(404, 409)`); what any request may be answered
with is added here, once.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict

from studio.contracts.base import Json, JsonObject
from studio.errors import FieldError
from studio.web.problems import MEDIA_TYPE

_MEANINGS = {
    400: "The request is malformed",
    403: "A page of another site asks, or who asks may not",
    404: "There is no such thing",
    409: "It contradicts what is stored",
    412: "`If-Match` names a state that is gone",
    413: "The body is larger than the limit",
    415: "The body's media type is not understood",
    421: "The `Host` is none of this service's",
    422: "The input is wrong; `errors` has each place",
    502: "The upstream's answer cannot be used",
    503: "A dependency does not answer; `dependency` names it",
    504: "The upstream did not answer in time",
}
_ANY_REQUEST = (400, 413, 415, 421, 422, 503)
_ANY_CHANGE = (403,)
_HEADERS = {"idempotency-key": 409, "if-match": 412}
"""What an operation that takes the header may be answered with."""
_REF = "#/components/schemas/"
_METHODS = ("get", "put", "post", "patch", "delete")


class Problem(BaseModel):
    """RFC 9457 problem document; some problems have further members."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None
    dependency: str | None = None


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses=` of an endpoint that may answer with these problems."""
    content = {MEDIA_TYPE: {"schema": {"$ref": f"{_REF}Problem"}}}
    return {status: {"description": _MEANINGS[status], "content": content} for status in statuses}


def operation_id(route: APIRoute) -> str:
    """The endpoint's function, so that a generated client has `list_runs`. Two of one name need a `name=`."""
    return route.name


def describe(app: FastAPI, links: Mapping[str, str], extend: Callable[[JsonObject], None] | None) -> None:
    """Complete `app.openapi()`. `links` has the path under which a created thing of a schema is found, for example
    `{"Run": "/api/v1/runs/{run_id}"}`: operations there are linked from those that answer with a new one. `extend`
    adds what the framework does not know of.
    """
    generate, lock = app.openapi, threading.Lock()
    complete: list[JsonObject] = []

    def openapi() -> JsonObject:
        with lock:  # it is made in a thread, by whoever asks first
            if not complete:
                document = generate()
                if extend is not None:
                    extend(document)
                _complete(document, links)
                complete.append(document)
        return complete[0]

    app.openapi = openapi


def _complete(document: JsonObject, links: Mapping[str, str]) -> None:
    schemas: JsonObject = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    problem = Problem.model_json_schema(ref_template=f"{_REF}{{model}}")
    schemas.update(problem.pop("$defs", {}))
    schemas["Problem"] = problem
    for path, method, operation in _operations(document):
        if path.startswith("/health/"):
            continue
        responses: JsonObject = operation["responses"]
        responses.pop("422", None)  # the framework's own, unless the endpoint has it: then it is made again
        unsafe = _ANY_CHANGE if method != "get" else ()
        for status, response in problems(*_ANY_REQUEST, *unsafe, *_of_headers(operation)).items():
            responses.setdefault(str(status), response)
        if method == "post":
            _link(document, path, responses, links)


def _of_headers(operation: JsonObject) -> list[int]:
    names = {parameter["name"].lower() for parameter in operation.get("parameters", [])}
    return [status for name, status in _HEADERS.items() if name in names]


def _link(document: JsonObject, path: str, responses: JsonObject, links: Mapping[str, str]) -> None:
    for status in ("200", "201", "202"):
        content = responses.get(status, {}).get("content", {}).get("application/json", {})
        home = links.get(str(content.get("schema", {}).get("$ref", "")).removeprefix(_REF))
        if home is None or path.startswith(home):
            continue
        parameter = home.rpartition("{")[2].rstrip("}")
        responses[status]["links"] = {
            operation["operationId"]: {
                "operationId": operation["operationId"],
                "parameters": {parameter: "$response.body#/id"},
            }
            for found, _, operation in _operations(document)
            if found.startswith(home) and found.count("{") == 1
        }


def _operations(document: JsonObject) -> Iterator[tuple[str, str, JsonObject]]:
    paths = cast("dict[str, dict[str, Json]]", document["paths"])
    return ((path, method, item[method]) for path, item in paths.items() for method in _METHODS if method in item)
