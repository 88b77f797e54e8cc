"""Reading bodies."""

import tracemalloc
from typing import Any

import orjson
import pytest

from studio.errors import InvalidInput
from studio.web.json_route import check_storable, parse_json


def place(value: Any) -> list[str | int]:
    with pytest.raises(InvalidInput) as refused:
        check_storable(value)
    return refused.value.errors[0].loc


def nested(depth: int, inner: Any) -> Any:
    for _ in range(depth):
        inner = [inner]
    return inner


class TestCheckStorable:
    @pytest.mark.parametrize("inner", [1, [], {}])
    def test_a_hundred_levels_are_allowed(self, inner: Any) -> None:
        check_storable(nested(99, inner))

    @pytest.mark.parametrize("inner", [1, "x", [], {"a": 1}])
    def test_more_are_refused(self, inner: Any) -> None:
        assert place(nested(100, inner)) == ["body"] + [0] * 9
        assert place({"a": [1, {"b": nested(120, inner)}]})[:5] == ["body", "a", 1, "b", 0]

    def test_nul_is_refused_with_its_place(self) -> None:
        assert place("\0") == ["body"]
        assert place({"a": [1, "b", {"c": "x\0"}]}) == ["body", "a", 2, "c"]
        assert place([{"a": 1}, {"k\0": 1}]) == ["body", 1]


class TestParseJson:
    def test_an_escaped_nul_is_refused(self) -> None:
        with pytest.raises(InvalidInput):
            parse_json(rb'{"a": "x\u0000"}')

    def test_a_backslash_before_u0000_is_text(self) -> None:
        assert parse_json(rb'{"a": "x\\u0000"}') == {"a": r"x\u0000"}

    @pytest.mark.parametrize("item", [b"1", b"[1]"])
    def test_a_large_list_takes_little_beside_reading_it(self, item: bytes) -> None:
        body = b"[" + b",".join([item] * 200_000) + b"]"
        tracemalloc.start()
        value = orjson.loads(body)
        before = tracemalloc.get_traced_memory()[0]
        check_storable(value)
        extra = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
        assert extra < 16 * len(body)
