import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from studio.contracts.durations import MAX_DURATION, Duration, format_duration, parse_duration

ADAPTER: TypeAdapter[timedelta] = TypeAdapter(Duration)


class TestParse:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("30s", timedelta(seconds=30)),
            ("1h30m", timedelta(hours=1, minutes=30)),
            ("500ms", timedelta(milliseconds=500)),
            ("1.5s", timedelta(milliseconds=1500)),
            ("1d1ms", timedelta(days=1, milliseconds=1)),
            (0.001, timedelta(milliseconds=1)),
            (90, timedelta(seconds=90)),
            ("3650d", MAX_DURATION),
        ],
    )
    def test_value(self, value: Any, expected: timedelta) -> None:
        assert ADAPTER.validate_python(value) == expected

    @pytest.mark.parametrize(
        "value",
        [
            0,
            -1,
            0.0004,
            "0s",
            "0.0004s",
            timedelta(microseconds=400),
            -1e300,
            1e300,
            10**400,
            -(10**400),
            math.nan,
            math.inf,
            -math.inf,
            "99999999999999999999h",
            "9" * 400 + "s",
            "3651d",
            "30s\n",
            "٣s",
            "",
            "s",
            True,
            None,
            [1],
        ],
    )
    def test_what_is_not_one_is_refused(self, value: Any) -> None:
        with pytest.raises(ValidationError):
            ADAPTER.validate_python(value)

    @given(st.floats() | st.integers() | st.text("0123456789dhms.") | st.timedeltas())
    def test_what_is_accepted_is_read_back_as_stored(self, value: Any) -> None:
        try:
            found = parse_duration(value)
        except ValueError:
            return
        assert parse_duration(format_duration(found)) == found

    @given(st.integers(1, MAX_DURATION // timedelta(milliseconds=1)))
    def test_every_duration_survives_storage(self, milliseconds: int) -> None:
        duration = timedelta(milliseconds=milliseconds)
        assert parse_duration(format_duration(duration)) == duration
