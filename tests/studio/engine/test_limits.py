import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.contracts.base import Json
from studio.engine.limits import MAX_BYTES, MAX_DEPTH, unfit


def nested(depth: int) -> Json:
    value: Json = []
    for _ in range(depth - 1):
        value = [value]
    return value


class TestUnfit:
    def test_depth(self) -> None:
        assert unfit(nested(MAX_DEPTH)) is None
        assert "levels" in str(unfit(nested(MAX_DEPTH + 1)))
        assert "levels" in str(unfit(nested(100_000)))

    def test_size(self) -> None:
        assert unfit(["x" * (MAX_BYTES - 1)]) is None
        assert "bytes" in str(unfit({"a": "x" * MAX_BYTES}))
        assert "bytes" in str(unfit([0] * (MAX_BYTES // 8 + 1)))

    @pytest.mark.parametrize("value", [2**64, -(2**63) - 1, float("nan"), float("inf"), "\ud800"])
    def test_what_json_cannot_hold(self, value: Json) -> None:
        assert unfit({"a": [value]})

    @given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists))
    def test_what_fits_can_be_written(self, value: Json) -> None:
        if unfit(value) is None:
            assert orjson.loads(orjson.dumps(value)) == value
