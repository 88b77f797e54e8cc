"""Clocks in expressions against Python's `zoneinfo`, over the changes of the clock of every kind of zone."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.expressions import evaluate

ZONES = [
    *(
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "Asia/Kathmandu",
        "America/St_Johns",
        "Africa/Casablanca",
    ),
    *("Pacific/Apia", "Pacific/Kiritimati", "Antarctica/Troll", "Asia/Tehran", "UTC"),
]
PARTS = (
    "[t.getFullYear(z), t.getMonth(z), t.getDate(z), t.getDayOfMonth(z), t.getDayOfYear(z), t.getDayOfWeek(z),"
    " t.getHours(z), t.getMinutes(z), t.getSeconds(z)]"
)


def by_zoneinfo(moment: datetime, zone: str) -> list[int]:
    local = moment.astimezone(ZoneInfo(zone))
    year, month, day = local.year, local.month, local.day
    of_year, of_week = int(local.strftime("%j")) - 1, int(local.strftime("%w"))
    return [year, month - 1, day, day - 1, of_year, of_week, local.hour, local.minute, local.second]


def by_expression(moment: datetime, zone: str) -> object:
    source = PARTS.replace("t.", "timestamp(input.t).").replace("z", "input.z")
    return evaluate(f"${{{{ {source} }}}}", {"input": {"t": moment.isoformat(), "z": zone}})


@pytest.mark.parametrize("zone", ZONES)
def test_around_both_changes_of_a_year(zone: str) -> None:
    for month in range(1, 13):
        for day in (1, 8, 15, 22, 25, 28):
            for hour in (0, 1, 2, 7, 14, 23):
                moment = datetime(2027, month, day, hour, 30, 59, tzinfo=UTC)
                assert by_expression(moment, zone) == by_zoneinfo(moment, zone)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2037, 1, 1)), st.sampled_from(ZONES))  # noqa: DTZ001 - Hypothesis takes them so
def test_at_any_moment(moment: datetime, zone: str) -> None:
    moment = moment.replace(tzinfo=UTC, microsecond=0)
    assert by_expression(moment, zone) == by_zoneinfo(moment, zone)


@given(st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)), st.timedeltas(timedelta(days=-300), timedelta(days=300)))  # noqa: DTZ001 - Hypothesis takes them so
def test_adding_a_duration_is_adding_a_duration(moment: datetime, span: timedelta) -> None:
    moment = moment.replace(tzinfo=UTC)
    scope = {"input": {"t": moment.isoformat(), "d": f"{span // timedelta(microseconds=1)}us"}}
    later = evaluate("${{ string(timestamp(input.t) + duration(input.d)) }}", scope)
    assert datetime.fromisoformat(str(later)) == moment + span
    assert evaluate("${{ timestamp(input.t) + duration(input.d) - timestamp(input.t) == duration(input.d) }}", scope)
