import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.contracts.base import Json
from studio.contracts.folding import LARGE_BYTES
from studio.engine.limits import ITEM_BYTES, MAX_BYTES, MAX_DEPTH, held_bytes, measure, unfit


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
        assert unfit(["x" * (MAX_BYTES - 2 * ITEM_BYTES)]) is None
        assert "bytes" in str(unfit({"a": "x" * MAX_BYTES}))
        assert "bytes" in str(unfit("é" * (MAX_BYTES // 2)))
        kinds: list[list[Json]] = [[0], [0.5], [True], [None], [[]], [{}], [0, 0.5], ["x"]]
        for many in kinds:
            count = MAX_BYTES // ITEM_BYTES // len(many)
            assert "bytes" in str(unfit(many * count))
            assert unfit(many * (count // 2)) is None

    def test_those_of_outputs_that_are_the_same_count_once(self) -> None:
        text = "x" * LARGE_BYTES
        one, other = {"a": text, "b": 1}, {"b": 1, "a": text}
        assert held_bytes([one, dict(one), None, "small", "small"]) == measure(one)[0] + 2 * measure("small")[0]
        assert held_bytes([one, other]) == 2 * measure(one)[0]  # written otherwise
        for not_written_once in ("語" * (LARGE_BYTES - 1), [7] * 400_000):
            assert held_bytes([not_written_once] * 2) == 2 * measure(not_written_once)[0]

    @pytest.mark.parametrize(
        "value", [[0, 2**64], [0.5, float("nan")], 2**64, -(2**63) - 1, float("nan"), float("inf"), "\ud800"]
    )
    def test_what_json_cannot_hold(self, value: Json) -> None:
        assert unfit({"a": [value]})

    @given(st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists))
    def test_what_fits_can_be_written(self, value: Json) -> None:
        if unfit(value) is None:
            assert orjson.loads(orjson.dumps(value)) == value
