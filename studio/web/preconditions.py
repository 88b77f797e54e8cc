"""`ETag` and `If-Match` (RFC 9110 sections 8.8.3 and 13.1.1)."""

from typing import Annotated

from fastapi import Header

from studio.errors import PreconditionFailed

IfMatch = Annotated[str | None, Header(description="The ETag that the resource must still have")]
Actor = Annotated[str, Header(alias="X-Studio-Actor", max_length=256, description="Who does it; set by the gateway")]

ANONYMOUS = "anonymous"


def etag_of(version: int | str) -> str:
    return f'"{version}"'


def check_if_match(if_match: str | None, etag: str) -> None:
    """Raise `PreconditionFailed` when `If-Match` was sent and names none of the resource's tags."""
    if if_match is None or if_match.strip() == "*":
        return
    if etag not in {tag.strip() for tag in if_match.split(",")}:
        raise PreconditionFailed(f"The resource changed: its ETag is {etag}. Read it again, then repeat the change.")
