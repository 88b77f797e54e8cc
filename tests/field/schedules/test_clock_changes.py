"""Crons around every change of the clock that the tz database knows of 2026 to 2028.

Held against a reference that walks through real time minute by minute and reads each minute's local time.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from zoneinfo import ZoneInfo, available_timezones

import pytest
from temporalio.client import ScheduleCalendarSpec, ScheduleRange

from api.schedules.calendars import changes_its_clock, utc_calendars

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
YEARS = (2026, 2028)
ALL = frozenset(range(60))


@dataclass(frozen=True)
class Case:
    """A cron and, written out by hand, what it names."""

    text: str
    minutes: AbstractSet[int]
    hours: AbstractSet[int]
    every_real_hour: bool
    weekdays: AbstractSet[int] = frozenset(range(7))
    """0 is Monday."""
    days: AbstractSet[int] = frozenset(range(1, 32))


CASES = [
    Case("0 0 * * *", {0}, {0}, every_real_hour=False),
    Case("@daily", {0}, {0}, every_real_hour=False),
    Case("30 1 * * *", {30}, {1}, every_real_hour=False),
    Case("30 2 * * *", {30}, {2}, every_real_hour=False),
    Case("*/30 2 * * *", {0, 30}, {2}, every_real_hour=False),
    Case("15,45 0,1,2,3 * * *", {15, 45}, {0, 1, 2, 3}, every_real_hour=False),
    Case("0 9-17 * * MON-FRI", {0}, set(range(9, 18)), every_real_hour=False, weekdays=set(range(5))),
    Case("0 3 1,15,28 * *", {0}, {3}, every_real_hour=False, days={1, 15, 28}),
    Case("0 * * * *", {0}, set(range(24)), every_real_hour=True),
    Case("*/20 */2 * * *", {0, 20, 40}, set(range(0, 24, 2)), every_real_hour=True),
    Case("5 1-23/2 * * SUN", {5}, set(range(1, 24, 2)), every_real_hour=True, weekdays={6}),
    Case("@hourly", {0}, set(range(24)), every_real_hour=True),
]


def reference(case: Case, minutes: list[datetime]) -> list[datetime]:
    """Which of the minutes, in local time, the cron fires at."""
    return [
        local.astimezone(UTC)
        for local in minutes
        if local.minute in case.minutes
        and local.hour in case.hours
        and local.day in case.days
        and local.weekday() in case.weekdays
        and (local.fold == 0 or case.every_real_hour)
    ]


def fired(calendars: tuple[ScheduleCalendarSpec, ...], start: datetime, end: datetime) -> list[datetime]:
    """What Temporal fires at by such calendars in UTC, from `start` up to but not at `end`."""
    found: set[datetime] = set()
    for one in calendars:
        fields = (one.year, one.month, one.day_of_month, one.hour, one.minute)
        year, month, day, hour, minute = (values(field) for field in fields)
        for date in (start + number * DAY for number in range(-1, (end - start).days + 2)):
            if date.year in year and date.month in month and date.day in day:
                midnight = datetime(date.year, date.month, date.day, tzinfo=UTC)
                found |= {midnight + timedelta(hours=at, minutes=past) for at in hour for past in minute}
    return sorted(moment for moment in found if start <= moment < end)


def values(ranges: Sequence[ScheduleRange]) -> set[int]:
    return set(chain(*(range(one.start, max(one.start, one.end) + 1, one.step or 1) for one in ranges)))


def changes(zone: ZoneInfo) -> Iterator[tuple[datetime, tuple[timedelta | None, ...]]]:
    """The UTC days on which the offset changes, each with its offsets by the quarter of an hour."""
    day = datetime(YEARS[0], 1, 2, tzinfo=UTC)
    while day.year <= YEARS[1]:
        if day.astimezone(zone).utcoffset() != (day + DAY).astimezone(zone).utcoffset():
            quarters = (day + number * timedelta(minutes=15) for number in range(97))
            yield day, tuple(quarter.astimezone(zone).utcoffset() for quarter in quarters)
        day += DAY


Changes = tuple[tuple[datetime, tuple[timedelta | None, ...]], ...]


def zones_by_changes() -> dict[tuple[timedelta | None, Changes], list[str]]:
    """Zones whose clocks do the same."""
    found: dict[tuple[timedelta | None, Changes], list[str]] = defaultdict(list)
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)
        found[datetime(YEARS[0], 1, 1, tzinfo=zone).utcoffset(), tuple(changes(zone))].append(name)
    return found


class TestEveryZone:
    def test_each_change_of_the_clock_fires_what_the_cron_names(self) -> None:
        seen = 0
        for (_, changing), names in zones_by_changes().items():
            zone = ZoneInfo(names[0])
            for name in names:
                assert changes_its_clock(name, YEARS) == bool(changing), name
            for day, _ in changing:
                start, end = day - DAY / 4, day + 1.25 * DAY
                minutes = [(start + number * MINUTE).astimezone(zone) for number in range((end - start) // MINUTE)]
                for case in CASES:
                    calendars = utc_calendars((case.text,), names[0], YEARS)
                    assert fired(calendars, start, end) == reference(case, minutes), (names[0], case.text, day)
                    seen += 1
        assert seen > 1000

    def test_a_whole_year_without_a_gap_or_a_surplus(self) -> None:
        for name in ("Europe/Berlin", "Australia/Lord_Howe", "Africa/Casablanca"):
            start, end = datetime(2027, 1, 2, tzinfo=UTC), datetime(2027, 12, 30, tzinfo=UTC)
            zone = ZoneInfo(name)
            steps = (start + number * timedelta(minutes=5) for number in range((end - start) // MINUTE // 5))
            moments = [step.astimezone(zone) for step in steps]
            for case in CASES[::3]:
                assert fired(utc_calendars((case.text,), name, YEARS), start, end) == reference(case, moments)

    def test_zones_of_one_offset_are_left_to_temporal(self) -> None:
        assert not any(changes_its_clock(name, YEARS) for name in ("UTC", "Asia/Tokyo", "Asia/Kolkata", "Etc/GMT+5"))


@pytest.mark.parametrize(
    ("crons", "timezone"),
    [
        (("0 9 * * *",), "Europe/Berlin"),
        (("0 9 * * MON-FRI",), "America/New_York"),
        (("* * * * *",), "Africa/Casablanca"),
    ],
)
def test_calendars_stay_few(crons: tuple[str, ...], timezone: str) -> None:
    assert len(utc_calendars(crons, timezone, (2021, 2031))) < 100
