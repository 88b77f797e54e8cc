"""A number in a JSON body is stored as it was written, or refused with its place.

Held against Python's `decimal`, which reads every literal exactly.
"""

import json
import math
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.errors import InvalidInput
from studio.web.json_route import parse_json


def refused(body: bytes) -> InvalidInput:
    with pytest.raises(InvalidInput) as found:
        parse_json(body)
    return found.value


class TestWholeNumbers:
    @given(st.integers(min_value=-(2**80), max_value=2**80))
    def test_those_of_64_bits_are_kept_and_no_others_are_taken(self, number: int):
        body = b'{"id": [%d]}' % number
        if -(2**63) <= number < 2**64:
            assert parse_json(body) == {"id": [number]}
        else:
            assert refused(body).errors[0].loc == ["body", "id", 0]

    def test_the_place_is_named(self):
        error = refused(b'{"input": {"a": 1,\n "id": 123456789012345678901}}')
        assert error.errors[0].loc == ["body", "input", "id"]
        assert (error.errors[0].line, error.errors[0].column) == (2, 8)
        assert "text" in error.detail

    @pytest.mark.parametrize("body", [b"9" * 400, b"-" + b"9" * 5000, b'{"a": 1%s}' % (b"0" * 100_000)])
    def test_those_without_end_are_refused_at_once(self, body: bytes):
        assert refused(body).status == 422


class TestFractions:
    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_every_double_is_taken_as_programs_print_it(self, number: float):
        for text in (repr(number), json.dumps(number), orjson.dumps(number).decode()):
            assert parse_json(b'{"x":%s}' % text.encode()) == {"x": number}
        assert parse_json(f"{number:.16e}".encode()) == number

    @given(st.decimals(allow_nan=False, allow_infinity=False, places=6))
    def test_what_is_taken_is_what_was_written(self, number: Decimal):
        text = format(number, "f")
        try:
            read = parse_json(f"[{text}]".encode())[0]
        except InvalidInput:
            assert Decimal(float(text)) != number
            return
        assert number in {Decimal(repr(read)), Decimal(f"{read:.17g}"), Decimal(read)}

    @pytest.mark.parametrize(
        "literal",
        [
            "1e400",
            "-1e400",
            "1e999999999999",
            "1e-400",
            "9007199254740993.0",
            "3.14159265358979323846",
            "1" * 30 + ".5",
        ],
    )
    def test_those_that_a_double_does_not_hold_are_refused(self, literal: str):
        error = refused(f'{{"a": [0, {{"x": {literal}}}]}}'.encode())
        assert error.errors[0].loc == ["body", "a", 1, "x"]

    @pytest.mark.parametrize("literal", ["0e99", "-0.0", "1e23", "5e-324", "0.10", "9007199254740992.0", "1E5"])
    def test_those_that_it_holds_are_not(self, literal: str):
        assert math.isclose(parse_json(literal.encode()), float(literal))


class TestTextThatLooksLikeOne:
    @given(st.text(alphabet='0123456789.eE+-"\\x: ,[]{}', max_size=60))
    def test_is_never_refused(self, text: str):
        value: Any = {"a": text, text: 1}
        assert parse_json(orjson.dumps(value)) == value

    def test_beside_one_that_is_refused(self):
        error = refused(b'{"a": "x: 123456789012345678901, ", "b": 123456789012345678901}')
        assert error.errors[0].loc == ["body", "b"]

    def test_a_later_value_of_the_same_key_hides_the_place_only(self):
        assert refused(b'{"a": 1e400, "a": 1}').errors[0].line == 1


class TestOtherFaults:
    @pytest.mark.parametrize(
        ("body", "says", "line"),
        [
            (b"\xef\xbb\xbf{}", "byte order mark", 1),
            (b'["a",\n"\xff"]', "not UTF-8", 2),
            (b"\x1f\x8b\x08\x00", "not UTF-8", 1),
            (b'"\\ud83d"', "half a character", 1),
            (b'"\\ude00"', "half a character", 1),
            (b"[1,\nNaN]", "NaN is no JSON number", 2),
            (b"-Infinity", "Infinity is no JSON number", 1),
            (b"", "empty", 1),
            (b"[" * 2000 + b"]" * 2000, "100 deep", 1),
            (b'{"a": tru}', "expected 'true'", 1),
        ],
    )
    def test_is_said_in_plain_words_with_line_and_column(self, body: bytes, says: str, line: int):
        error = refused(body)
        assert says in error.detail
        assert "surrogate" not in error.detail
        assert error.errors[0].line == line
        assert error.errors[0].column is not None


class TestAmongMany:
    @given(st.lists(st.sampled_from(["1", "0.1", "1e5", '"123456789012345678901"', "0.30000000000000004", "[2]"])))
    def test_the_first_that_is_lost_is_named_whatever_comes_before_it(self, before: list[str]):
        head = "[" + ", ".join([*before, ""])
        error = refused(f"{head}0.12345678901234567890123, 1e-999]".encode()).errors[0]
        assert (error.loc, error.column) == (["body", len(before)], len(head) + 1)

    def test_a_large_body_of_them_is_read(self):
        numbers = [index / 7 for index in range(60_000)]
        assert parse_json(orjson.dumps(numbers)) == numbers
