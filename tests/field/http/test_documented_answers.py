"""What a request may be answered with stands in the OpenAPI documents."""

from collections.abc import Iterator

import pytest

from studio.contracts.base import JsonObject
from tests.support.openapi import documents


@pytest.fixture(scope="module")
def operations() -> list[tuple[str, JsonObject]]:
    return list(_operations())


def _operations() -> Iterator[tuple[str, JsonObject]]:
    for service, document in documents().items():
        for path, item in document["paths"].items():
            for method, operation in item.items():
                yield f"{service} {method} {path}", operation


@pytest.mark.parametrize(
    ("header", "status"),
    [
        pytest.param("idempotency-key", "409", id="a key that came with another body"),
        pytest.param("if-match", "412", id="a tag that is gone"),
    ],
)
def test_an_operation_that_takes_the_header_has_its_refusal(
    operations: list[tuple[str, JsonObject]], header: str, status: str
) -> None:
    taking = {
        name: operation
        for name, operation in operations
        if header in {parameter["name"].lower() for parameter in operation.get("parameters", [])}
    }
    assert taking
    assert [name for name, operation in taking.items() if status not in operation["responses"]] == []


def test_headers_of_calls_to_models_have_their_shape(operations: list[tuple[str, JsonObject]]) -> None:
    chat = dict(operations)["llm post /v1/chat/completions"]
    schemas = {parameter["name"]: parameter["schema"] for parameter in chat["parameters"]}
    assert schemas["X-Studio-Retries"] == {"type": "string", "pattern": "^[0-9]{1,2}$"}
    assert schemas["X-Studio-Metadata"]["contentMediaType"] == "application/json"
