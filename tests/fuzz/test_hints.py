"""What is written into the document that is fuzzed: names that there are, beside what the document says."""

import pytest

from studio.contracts.base import JsonObject
from tests.fuzz.hints import BODIES, BY_MEDIA_TYPE, hinted
from tests.fuzz.seeds import Hint
from tests.support.openapi import documents


@pytest.fixture(scope="module")
def api() -> JsonObject:
    return dict(documents()["api"])


def test_every_body_is_that_of_an_operation() -> None:
    named = {
        operation["operationId"]
        for document in documents().values()
        for item in document["paths"].values()
        for operation in item.values()
        if "requestBody" in operation
    }
    assert BODIES.keys() | BY_MEDIA_TYPE.keys() <= named


def test_the_most_particular_hint_counts(api: JsonObject) -> None:
    hints = [
        Hint("/api/v1/agents/{ref}", "ref", ["known"]),
        Hint("/api/v1/agents/{ref}", "ref", ["spare"], frozenset({"delete"})),
        Hint("/api/v1/agents/{ref}/runs", "ref", ["runs"]),
    ]
    found = hinted(api, hints)["paths"]

    def values(path: str, method: str) -> list[str]:
        parameters = found[path][method]["parameters"]
        return next(parameter["schema"]["enum"] for parameter in parameters if parameter["name"] == "ref")

    assert values("/api/v1/agents/{ref}", "get") == ["known"]
    assert values("/api/v1/agents/{ref}", "delete") == ["spare"]
    assert values("/api/v1/agents/{ref}/runs", "post") == ["runs"]
    assert values("/api/v1/agents/{ref}/versions", "get") == ["known"]


def test_the_document_itself_stays_as_it_is_and_is_an_alternative(api: JsonObject) -> None:
    before = api["paths"]["/api/v1/agents"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    found = hinted(api, [])["paths"]["/api/v1/agents"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert found["anyOf"][1] == before
    assert hinted(api, []) == hinted(api, [])
