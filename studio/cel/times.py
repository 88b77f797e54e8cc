"""Timestamps and durations, to the nanosecond, and what a clock in a time zone shows.

A zone is a name of the tz database (`Europe/Berlin`) or an offset (`+01:00`). Durations are those of 64 bits of
nanoseconds, about 292 years; timestamps are those of the years 1 to 9999. Source: cel-spec, doc/langdef.md.
"""

import calendar
import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from studio.cel.errors import EvaluationFault, failure
from studio.cel.values import Duration, Moment

SECOND = 1_000_000_000
_UNITS = {"h": 3600 * SECOND, "m": 60 * SECOND, "s": SECOND, "ms": 1_000_000, "us": 1_000, "µs": 1_000, "ns": 1}
_MAX_DURATION = (1 << 63) - 1
_MAX_LENGTH = 100
_DURATION = re.compile(r"([+-]?)((?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:h|ms|m|s|us|µs|ns))+|0)")
_DURATION_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(h|ms|m|s|us|µs|ns)")
_TIMESTAMP = re.compile(
    r"([0-9]{4,5})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)
_OFFSET = re.compile(r"([+-]?)([0-9]{2}):([0-9]{2})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MIN_MOMENT = -62_135_596_800 * SECOND
_MAX_MOMENT = 253_402_300_800 * SECOND - 1


def checked_duration(nanoseconds: int) -> Duration:
    if abs(nanoseconds) > _MAX_DURATION:
        raise failure("out of range: a duration is at most about 292 years")
    return Duration(nanoseconds)


def checked_moment(nanoseconds: int) -> Moment:
    if not _MIN_MOMENT <= nanoseconds <= _MAX_MOMENT:
        raise failure("out of range: a timestamp is of the years 1 to 9999")
    return Moment(nanoseconds)


def read_duration(text: str) -> Duration:
    """`1h30m`, `-1.5s`, `100ms`."""
    found = _DURATION.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if found is None:
        raise failure(f"{text[:40]!r} is not a duration: write it as '90s' or '1h30m'")
    total = 0
    for whole, broken, unit in _DURATION_PART.findall(found.group(2)):
        total += int(whole or "0") * _UNITS[unit]
        total += int(broken or "0") * _UNITS[unit] // 10 ** len(broken)
    return checked_duration(-total if found.group(1) == "-" else total)


def read_moment(text: str) -> Moment:
    """RFC 3339, with its offset."""
    found = _TIMESTAMP.fullmatch(text)
    if found is None:
        raise failure(f"{text[:40]!r} is not an RFC 3339 time: write it as 2030-01-31T09:00:00Z, with its offset")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    if not 1 <= year <= 9999:
        raise failure("out of range: a timestamp is of the years 1 to 9999")
    sign, hours, minutes = found.groups()[7:]
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
        offset = _offset(sign or "+", hours or "0", minutes or "0")
    except ValueError:
        raise failure(f"{text!r} is no moment: there is no such date or time") from None
    broken = int((found.group(7) or "").ljust(9, "0"))
    return checked_moment(_since_epoch(moment) + broken - offset // timedelta(seconds=1) * SECOND)


def _since_epoch(moment: datetime) -> int:
    return calendar.timegm(moment.timetuple()) * SECOND


def moment_text(moment: Moment, places: int = 0) -> str:
    """RFC 3339 in UTC; with at least `places` of its broken seconds, and no more than it needs."""
    seconds, broken = divmod(moment.nanoseconds, SECOND)
    digits = f"{broken:09}".rstrip("0").ljust(places, "0")
    text = (_EPOCH + timedelta(seconds=seconds)).strftime("%m-%dT%H:%M:%S")
    return f"{(_EPOCH + timedelta(seconds=seconds)).year:04}-{text}{'.' if digits else ''}{digits}Z"


def duration_text(duration: Duration) -> str:
    """Seconds with `s`, as protobuf's JSON has them."""
    whole, rest = divmod(abs(duration.nanoseconds), SECOND)
    text = f"{whole}.{rest:09}".rstrip("0").rstrip(".")
    return f"-{text}s" if duration.nanoseconds < 0 else f"{text}s"


def _offset(sign: str, hours: str, minutes: str) -> timedelta:
    if int(hours) > 23 or int(minutes) > 59:
        raise ValueError("no offset")
    offset = timedelta(hours=int(hours), minutes=int(minutes))
    return -offset if sign == "-" else offset


def _zone(name: str) -> tzinfo:
    try:
        if found := _OFFSET.fullmatch(name):
            return timezone(_offset(*found.groups()))
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise failure(
            f"{name[:60]!r} is no time zone: write a name of the tz database, Europe/Berlin, or an offset, +01:00"
        ) from None


def moment_part(function: str, moment: Moment, zone: str = "UTC") -> int:  # noqa: PLR0911 - one line a function
    """`getHours` and the like, as the clock of a zone shows it. Months and days count from 0, but `getDate`."""
    seconds, broken = divmod(moment.nanoseconds, SECOND)
    try:
        local = (_EPOCH + timedelta(seconds=seconds)).astimezone(_zone(zone))
    except OverflowError:
        raise EvaluationFault("out of range: a timestamp is of the years 1 to 9999") from None
    match function:
        case "getFullYear":
            return local.year
        case "getMonth":
            return local.month - 1
        case "getDate":
            return local.day
        case "getDayOfMonth":
            return local.day - 1
        case "getDayOfYear":
            return local.timetuple().tm_yday - 1
        case "getDayOfWeek":
            return local.isoweekday() % 7
        case "getHours":
            return local.hour
        case "getMinutes":
            return local.minute
        case "getSeconds":
            return local.second
        case _:
            return broken // 1_000_000


def duration_part(function: str, duration: Duration) -> int:
    """All its hours, minutes or seconds, cut; of milliseconds only those beyond the second."""
    size = abs(duration.nanoseconds)
    match function:
        case "getHours":
            part = size // _UNITS["h"]
        case "getMinutes":
            part = size // _UNITS["m"]
        case "getSeconds":
            part = size // SECOND
        case _:
            part = size % SECOND // 1_000_000
    return -part if duration.nanoseconds < 0 else part
