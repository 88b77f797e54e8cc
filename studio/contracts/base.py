"""What every contract shares: what people write refuses unknown fields, so that a typo never passes silently."""

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer, StringConstraints

Json = Any
"""A JSON value: object, array, string, number, boolean or null."""

JsonObject = dict[str, Any]

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
IDENTIFIER_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]{0,62}$"
ERROR_PATTERN = r"^[a-z][a-z0-9_]{0,62}$"

Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""A resource's name: lower case, digits, `_` and `-`, at most 63 characters, starting with a letter or digit."""

Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER_PATTERN)]
"""A step id or a variable's name: something that an expression can name."""

ErrorName = Annotated[str, StringConstraints(pattern=ERROR_PATTERN)]
"""What a failure is called in `error.type`: one of the built-in types, or one that a `fail` step gives."""


def to_utc(moment: datetime) -> datetime:
    """Read a time without zone as UTC and convert every other to UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def format_timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds and `Z`, so that text order is time order."""
    in_utc = moment if moment.tzinfo is UTC else to_utc(moment)
    return in_utc.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


Timestamp = Annotated[
    datetime,
    AfterValidator(to_utc),
    PlainSerializer(format_timestamp, return_type=str, when_used="json"),
]
"""A moment in UTC; in JSON RFC 3339 with microseconds and `Z`."""


WallTime = Annotated[datetime, PlainSerializer(format_timestamp, return_type=str, when_used="json")]
"""A time as written. One without an offset is in the time zone beside it, which the document's own model applies."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Contract(BaseModel):
    """Base of all contracts: the HTTP body, the activity payload and the YAML document are one class."""

    model_config = ConfigDict(extra="forbid", validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)


class Wire(Contract):
    """What our own processes, perhaps of another version, exchange: answers, activity payloads, workflow arguments,
    run states and events. Unknown fields are left out, so that a rolling deploy that adds one breaks nothing.

    As a second base (`class Stored(Definition, Wire)`) it loosens that class's own level, not what it holds.
    """

    model_config = ConfigDict(extra="ignore")


ItemT = TypeVar("ItemT")


class Page(Wire, Generic[ItemT]):
    """One page of a list; `next_cursor` is null on the last one."""

    items: list[ItemT]
    next_cursor: str | None = None
