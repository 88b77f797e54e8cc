"""Puts the model endpoints into the OpenAPI document: as plain ASGI routes they are not in it by themselves."""

from collections.abc import Callable, Mapping

from studio.contracts.base import JsonObject
from studio.contracts.llm import ChatRequest
from studio.web.openapi import problems

_HEADERS = {
    "X-Studio-Project": "Project of the call's span",
    "X-Studio-Prompt": "`name@version` of the prompt that was rendered",
    "X-Studio-Run": "Run id",
    "X-Studio-Step": "Step id",
    "X-Studio-Metadata": "JSON object of strings",
    "X-Studio-Retries": "How often the gateway repeats the call at most; 0 for a caller who retries by himself",
    "X-Session-Id": "Session id",
    "X-User-Id": "User id",
    "traceparent": "W3C trace context",
}
_TEXT: JsonObject = {"type": "string"}
_SCHEMAS: Mapping[str, JsonObject] = {
    "X-Studio-Metadata": {"type": "string", "contentMediaType": "application/json"},
    "X-Studio-Retries": {"type": "string", "pattern": "^[0-9]{1,2}$"},
}


def _parameters() -> list[JsonObject]:
    return [
        {"name": name, "in": "header", "required": False, "description": text, "schema": _SCHEMAS.get(name, _TEXT)}
        for name, text in _HEADERS.items()
    ]


def _text_request(content: str) -> JsonObject:
    return {
        "type": "object",
        "required": ["model", content],
        "additionalProperties": True,
        "properties": {"model": {"type": "string"}, content: {"anyOf": [_TEXT, {"type": "array", "items": {}}]}},
    }


def _list_of(item: JsonObject, **fields: JsonObject) -> JsonObject:
    usage: JsonObject = {"type": ["object", "null"], "additionalProperties": True}
    shared: JsonObject = {"id": {"type": "string"}, "object": {"type": "string"}, "model": {"type": "string"}}
    items = {name: {"type": "array", "items": field} for name, field in fields.items()}
    return {"type": "object", "additionalProperties": True, "properties": {**shared, **items, "usage": usage, **item}}


_CREATED: JsonObject = {"created": {"type": "integer"}}
_OBJECT: JsonObject = {"type": "object", "additionalProperties": True}
_ANSWERS: JsonObject = {
    "ChatCompletion": _list_of(_CREATED, choices=_OBJECT),
    "Completion": _list_of(_CREATED, choices=_OBJECT),
    "EmbeddingList": _list_of({}, data=_OBJECT),
}
"""As far as the gateway knows them: what an upstream adds goes through."""


def _operation(summary: str, request: JsonObject, answer: str, *, streams: bool, operation_id: str) -> JsonObject:
    content: JsonObject = {"application/json": {"schema": {"$ref": f"#/components/schemas/{answer}"}}}
    if streams:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    refusals = {str(status): problem for status, problem in problems(404, 502, 504).items()}
    return {
        "tags": ["calls"],
        "summary": summary,
        "description": "As in the OpenAI API; unknown fields go through untouched. "
        "`model` is `upstream/model` or an alias. Problems have OpenAI's `error` beside their own members.",
        "operationId": operation_id,
        "parameters": _parameters(),
        "requestBody": {"required": True, "content": {"application/json": {"schema": request}}},
        "responses": {
            "200": {"description": "The upstream's answer", "content": content},
            **refusals,
            "default": {"description": "The upstream's own error, unchanged"},
        },
    }


def call_descriptions(prefixes: Mapping[str, str]) -> Callable[[JsonObject], None]:
    """Extends the document. `prefixes` has what the names of the operations below a path end with."""

    def extend(document: JsonObject) -> None:
        chat_request = ChatRequest.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(chat_request.pop("$defs", {}) | _ANSWERS)
        schemas["ChatRequest"] = chat_request
        chat = {"$ref": "#/components/schemas/ChatRequest"}
        for prefix, suffix in prefixes.items():
            for path, name, summary, request, answer in (
                ("/chat/completions", "create_chat_completion", "Answer a chat", chat, "ChatCompletion"),
                ("/completions", "create_completion", "Complete a text", _text_request("prompt"), "Completion"),
                ("/embeddings", "create_embeddings", "Embed texts", _text_request("input"), "EmbeddingList"),
            ):
                streams = answer != "EmbeddingList"
                operation = _operation(summary, request, answer, streams=streams, operation_id=name + suffix)
                document["paths"][prefix + path] = {"post": operation}

    return extend
