"""The copies that are fuzzed: nothing recursive, every kind of step still there. `make fuzz` runs the rest."""

import pytest

from studio.contracts.base import JsonObject
from tests.fuzz.bounded import bounded, recursive_names
from tests.support.openapi import documents


@pytest.fixture(scope="module")
def api() -> JsonObject:
    return dict(documents()["api"])


class TestBounded:
    def test_nothing_leads_back_to_itself(self, api: JsonObject) -> None:
        assert recursive_names(api)
        assert not recursive_names(bounded(api))

    def test_every_kind_of_step_and_every_operation_is_still_there(self, api: JsonObject) -> None:
        found = bounded(api)
        steps = {name for name in api["components"]["schemas"] if name.endswith("Step")}
        assert steps <= found["components"]["schemas"].keys()
        assert found["paths"].keys() == api["paths"].keys()


class TestDocuments:
    def test_say_what_is_answered(self) -> None:
        for service, document in documents().items():
            ids: list[str] = []
            for path, item in document["paths"].items():
                for operation in item.values():
                    place = f"{service} {path}"
                    ids.append(operation["operationId"])
                    assert len(operation["tags"]) == 1, place
                    assert operation["summary"], place
                    for status, response in operation["responses"].items():
                        if status in {"204", "default"}:
                            continue
                        content = response["content"]
                        assert all(one["schema"] for one in content.values()), (place, status)
                        if int(status) >= 400 and not path.startswith("/health/"):
                            assert list(content) == ["application/problem+json"], (place, status)
            assert len(set(ids)) == len(ids)
            assert all(name.isidentifier() and name.islower() for name in ids)
            assert "HTTPValidationError" not in document["components"]["schemas"]
