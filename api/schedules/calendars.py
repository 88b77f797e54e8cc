"""Cron expressions of a time zone as calendars in UTC, for Temporal to fire by.

Temporal can read a cron in a zone itself, but around a change of the clock it fires at times that the cron does not
name, twice, or not at all. So every day is turned into its moments in UTC here, by these rules:

- a local time that the clock jumps over does not come that day;
- one that comes twice comes the first time, but both times when a wildcard or a step names its hour.

Days with the same moments share a calendar. A zone whose clock does not change within the years needs none of this.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from temporalio.client import ScheduleCalendarSpec, ScheduleRange

from studio.contracts.cron import CronTimes, read_cron

YEARS_BACK = 5
"""How far a backfill reaches."""
YEARS_AHEAD = 5
"""Calendars are made again each year, so this is how long a schedule fires when nobody does that."""

_DAY = timedelta(days=1)
_MINUTE = timedelta(minutes=1)
_MINUTES_OF_A_DAY = 24 * 60

_Times = dict[tuple[int, int], set[int]]
"""Minutes by (day, hour) in UTC; the day counts from the local one: -1, 0 or 1."""


def covered_years(now: datetime, start_at: datetime | None) -> tuple[int, int]:
    """The first and the last year that a schedule's calendars hold."""
    first = max(now.year - YEARS_BACK, 1 if start_at is None else start_at.year - 1)
    return first, max(now.year, first) + YEARS_AHEAD


@lru_cache(maxsize=1024)
def changes_its_clock(timezone: str, years: tuple[int, int]) -> bool:
    zone = ZoneInfo(timezone)
    days = _days(years)
    first = _offset(next(days), zone)
    return any(_offset(day, zone) != first for day in days)


@lru_cache(maxsize=256)
def utc_calendars(crons: tuple[str, ...], timezone: str, years: tuple[int, int]) -> tuple[ScheduleCalendarSpec, ...]:
    """Calendars in UTC that hold exactly the moments of the crons within the years."""
    zone = ZoneInfo(timezone)
    days_of: dict[tuple[frozenset[int], frozenset[int]], set[date]] = defaultdict(set)
    for cron in map(read_cron, crons):
        by_offset: dict[timedelta, list[tuple[int, frozenset[int], frozenset[int]]]] = {}
        for day in _days(years):
            if not cron.has_day(day):
                continue
            offset = _offset(day, zone)
            if _offset(day + _DAY, zone) != offset:
                boxes = _boxes(_times_of_changing_day(cron, day, zone))
            else:
                boxes = by_offset.get(offset) or by_offset.setdefault(offset, _boxes(_times_at(cron, offset)))
            for ahead, hours, minutes in boxes:
                days_of[hours, minutes].add(day + ahead * _DAY)
    return tuple(
        ScheduleCalendarSpec(
            year=_ranges(in_years),
            month=_ranges(months),
            day_of_month=_ranges(days),
            hour=_ranges(hours),
            minute=_ranges(minutes),
        )
        for (hours, minutes), dates in days_of.items()
        for in_years, months, days in _grouped(dates)
    )


def _days(years: tuple[int, int]) -> Iterator[date]:
    day, last = date(years[0], 1, 1), date(years[1], 12, 31)
    while day <= last:
        yield day
        day += _DAY


def _offset(day: date, zone: ZoneInfo) -> timedelta:
    return datetime(day.year, day.month, day.day, tzinfo=zone).utcoffset() or timedelta()


def _times_at(cron: CronTimes, offset: timedelta) -> _Times:
    """On a day on which the clock does not change."""
    ahead = offset // _MINUTE
    found: _Times = defaultdict(set)
    for hour in cron.hours:
        for minute in cron.minutes:
            day, left = divmod(hour * 60 + minute - ahead, _MINUTES_OF_A_DAY)
            found[day, left // 60].add(left % 60)
    return found


def _times_of_changing_day(cron: CronTimes, day: date, zone: ZoneInfo) -> _Times:
    """Local minus UTC is `before` up to the change and `after` from then on."""
    before, after = (_offset(one, zone) // _MINUTE for one in (day, day + _DAY))
    changes_at = _change(day, zone, before, after)
    found: _Times = defaultdict(set)
    for hour in cron.hours:
        for minute in cron.minutes:
            local = hour * 60 + minute
            first, second = local - before, local - after
            moments = [first] if first < changes_at else []
            if second >= changes_at and (not moments or hour in cron.every_real_hour):
                moments.append(second)
            for moment in moments:
                ahead, left = divmod(moment, _MINUTES_OF_A_DAY)
                found[ahead, left // 60].add(left % 60)
    return found


def _change(day: date, zone: ZoneInfo, before: int, after: int) -> int:
    """The first minute, counted from the day's midnight in UTC, that has the offset `after`."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return (
        bisect_left(
            range(_MINUTES_OF_A_DAY + 1),
            True,
            key=lambda minute: (midnight + (minute - before) * _MINUTE).astimezone(zone).utcoffset() == after * _MINUTE,
        )
        - before
    )


def _boxes(times: _Times) -> list[tuple[int, frozenset[int], frozenset[int]]]:
    """Day, hours and minutes, of which every hour goes with every minute."""
    hours_of: dict[tuple[int, frozenset[int]], set[int]] = defaultdict(set)
    for (day, hour), minutes in times.items():
        hours_of[day, frozenset(minutes)].add(hour)
    return [(day, frozenset(hours), minutes) for (day, minutes), hours in hours_of.items()]


def _grouped(dates: set[date]) -> Iterator[tuple[set[int], frozenset[int], frozenset[int]]]:
    """The dates as years, months and days, of which each goes with each."""
    days_of: dict[tuple[int, int], set[int]] = defaultdict(set)
    for day in dates:
        days_of[day.year, day.month].add(day.day)
    months_of: dict[tuple[int, frozenset[int]], set[int]] = defaultdict(set)
    for (year, month), days in days_of.items():
        whole = (date(year + month // 12, month % 12 + 1, 1) - date(year, month, 1)).days == len(days)
        months_of[year, frozenset(range(1, 32) if whole else days)].add(month)
    years_of: dict[tuple[frozenset[int], frozenset[int]], set[int]] = defaultdict(set)
    for (year, days), months in months_of.items():
        years_of[frozenset(months), days].add(year)
    for (months, days), years in years_of.items():
        yield years, months, days


def _ranges(values: frozenset[int] | set[int]) -> Sequence[ScheduleRange]:
    ordered = sorted(values)
    steps = {after - before for before, after in pairwise(ordered)}
    if len(steps) <= 1:
        return [ScheduleRange(ordered[0], ordered[-1], min(steps, default=1))]
    found: list[ScheduleRange] = []
    for value in ordered:
        if found and found[-1].end == value - 1:
            found[-1] = ScheduleRange(found[-1].start, value, 1)
        else:
            found.append(ScheduleRange(value, value, 1))
    return found
