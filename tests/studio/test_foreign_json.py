import json
import math
import time
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.foreign_json import (
    MAX_DEPTH,
    UnreadableJson,
    depth_exceeds,
    find_usage,
    member_span,
    read_foreign_json,
    write_storable,
)

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None))
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20
)


@given(VALUES)
def test_whatever_python_reads_as_json_is_written_so_that_strict_readers_take_it(value: Any) -> None:
    written = write_storable(read_foreign_json(json.dumps(value).encode()))
    orjson.loads(written)
    written.decode()


@given(st.recursive(st.none(), lambda inner: st.lists(inner, min_size=1, max_size=2), max_leaves=50))
def test_depth_is_that_of_the_brackets(value: Any) -> None:
    text = json.dumps(value)
    deepest = depth = 0
    for character in text:
        depth += {"[": 1, "]": -1}.get(character, 0)
        deepest = max(deepest, depth)
    assert depth_exceeds(value, deepest) is False
    assert depth_exceeds(value, deepest - 1) is (deepest > 0)


def test_what_is_nested_too_deep_keeps_what_is_above() -> None:
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    written = orjson.loads(write_storable({"kept": 1, "deep": deep}))
    assert written["kept"] == 1
    assert not depth_exceeds(written, MAX_DEPTH + 1)


def test_numbers_that_json_does_not_have() -> None:
    assert read_foreign_json(b'{"a": NaN, "b": -Infinity, "c": 1}') == {"a": None, "b": None, "c": 1}
    assert math.isfinite(read_foreign_json(b"12345678901234567890123"))


@pytest.mark.parametrize("data", [b"", b"{", b"<html>", b"[" * 5_000, b"\xff\xfe", b'{"a": 1} x'])
def test_what_is_no_json(data: bytes) -> None:
    with pytest.raises(UnreadableJson):
        read_foreign_json(data)


def test_usage_is_found_in_what_is_cut_and_not_in_text() -> None:
    cut = rb'{"text": "\"usage\": {\"prompt_tokens\": 1}", "usage": {"prompt_tokens": 2}, "x": [['
    assert find_usage(cut) == [{"prompt_tokens": 2}]


@given(st.dictionaries(st.sampled_from(["a", "b", "usage"]), st.integers() | st.text() | st.lists(st.integers())))
def test_a_member_is_found_where_it_is(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    place = member_span(text, "usage")
    assert (place is not None) == ("usage" in document)
    if place is not None:
        assert json.loads(text[place[1] : place[2]]) == document["usage"]


def test_usages_nested_in_each_other_do_not_take_long() -> None:
    """Each of them reads all that is in it: half a minute for this text, if all were tried."""
    nested = b'{"usage": {"prompt_tokens": 3}, "more": ' + b'{"usage":' * 50_000
    began = time.process_time()
    assert find_usage(nested) == [{"prompt_tokens": 3}]
    assert time.process_time() - began < 5
    document = '{"usage":' * 500 + "[" + "1," * 100_000 + "1]" + "}" * 500
    assert member_span(document, "usage") is None
    assert time.process_time() - began < 5
