"""Puts the model endpoints into the OpenAPI document: as plain ASGI routes they are not in it by themselves."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI

from studio.contracts.base import JsonObject
from studio.contracts.llm import ChatRequest

_PROBLEM = {
    "application/problem+json": {
        "schema": {
            "type": "object",
            "properties": {
                "type": {"type": "string"},
                "title": {"type": "string"},
                "status": {"type": "integer"},
                "detail": {"type": "string"},
                "error": {"type": "object", "description": "The same in OpenAI's shape"},
            },
        }
    }
}
_HEADERS = {
    "X-Studio-Project": "Project of the call's span",
    "X-Studio-Prompt": "`name@version` of the prompt that was rendered",
    "X-Studio-Run": "Run id",
    "X-Studio-Step": "Step id",
    "X-Studio-Metadata": "JSON object of strings",
    "X-Session-Id": "Session id",
    "X-User-Id": "User id",
    "traceparent": "W3C trace context",
}


def _parameters() -> list[JsonObject]:
    return [
        {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in _HEADERS.items()
    ]


def _text_request(content: str) -> JsonObject:
    return {
        "type": "object",
        "required": ["model", content],
        "additionalProperties": True,
        "properties": {"model": {"type": "string"}, content: {}},
    }


def _operation(summary: str, request: JsonObject, *, streams: bool, operation_id: str) -> JsonObject:
    content: JsonObject = {"application/json": {"schema": {"type": "object"}}}
    if streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    return {
        "tags": ["calls"],
        "summary": summary,
        "description": "As in the OpenAI API; unknown fields go through untouched. "
        "`model` is `upstream/model` or an alias.",
        "operationId": operation_id,
        "parameters": _parameters(),
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": {
            "200": {"description": "The upstream's answer", "content": content},
            "404": {"description": "No such model", "content": _PROBLEM},
            "413": {"description": "The body is too large", "content": _PROBLEM},
            "422": {"description": "The body is wrong; `errors` names the place", "content": _PROBLEM},
            "503": {"description": "The upstream does not answer", "content": _PROBLEM},
            "504": {"description": "The upstream did not answer in time", "content": _PROBLEM},
            "default": {"description": "The upstream's own error, unchanged"},
        },
    }


def describe_calls(app: FastAPI, prefixes: Sequence[str]) -> None:
    """Extend `app.openapi()`."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        chat_request = ChatRequest.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(chat_request.pop("$defs", {}))
        schemas["ChatRequest"] = chat_request
        for prefix in prefixes:
            name = prefix.strip("/").replace("/", "_")
            for path, summary, request, streams in (
                ("/chat/completions", "Chat", {"$ref": "#/components/schemas/ChatRequest"}, True),
                ("/completions", "Complete a text", _text_request("prompt"), True),
                ("/embeddings", "Embed texts", _text_request("input"), False),
            ):
                operation_id = f"{name}{path.replace('/', '_')}"
                document["paths"][prefix + path] = {
                    "post": _operation(summary, request, streams=streams, operation_id=operation_id)
                }
        return document

    app.openapi = openapi
