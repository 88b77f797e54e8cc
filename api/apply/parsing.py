"""Request bodies that hold documents: YAML (many documents) or JSON (one, or a list)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from fastapi import Request

from studio.contracts.base import Json
from studio.documents import Document, load_documents
from studio.errors import FieldError, InvalidInput, UnsupportedMediaType
from studio.web.json_route import check_storable, is_json, parse_json

YAML_TYPES = frozenset({"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml"})
BODY_SCHEMA: Json = {
    "required": True,
    "content": {
        "application/yaml": {
            "schema": {"type": "string"},
            "example": "kind: agent\nname: writer\ninstructions: Write two sentences.\n",
        },
        "application/json": {"schema": {"type": "array", "items": {"type": "object"}}},
    },
}
"""`requestBody` of the endpoints that read documents."""


@dataclass(frozen=True)
class SourceDocument:
    """One document as it came; `source` is there when it was YAML."""

    value: Json
    source: Document | None = None

    @property
    def text(self) -> str | None:
        """The YAML that it was."""
        return None if self.source is None else self.source.text

    def locate(self, error: FieldError) -> FieldError:
        """The error with line and column, its `loc` being relative to the document."""
        if self.source is None:
            return error
        line, column = self.source.position(error.loc)
        return error.model_copy(update={"line": line, "column": column})


async def read_documents(request: Request) -> Sequence[SourceDocument]:
    """Raises `InvalidInput` with line and column, `UnsupportedMediaType` for what is neither YAML nor JSON."""
    content_type = request.headers.get("content-type", "")
    body = await request.body()
    if is_json(content_type):
        value = parse_json(body)
        values = cast("list[Json]", value) if isinstance(value, list) else [value]
        return [SourceDocument(item) for item in values]
    if content_type.partition(";")[0].strip().lower() not in YAML_TYPES:
        raise UnsupportedMediaType("Send application/yaml, or application/json with one document or a list of them.")
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        before = body[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        fault = FieldError(loc=["body"], msg="not UTF-8", type="encoding", line=line, column=column)
        raise InvalidInput(f"line {line}, column {column}: the text is not UTF-8", errors=[fault]) from None
    documents = await asyncio.to_thread(load_documents, text)
    for document in documents:
        check_storable(document.value)
    return [SourceDocument(document.value, document) for document in documents]
