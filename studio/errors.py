"""The error tree. Services raise these; `studio.web.problems` renders them as RFC 9457 problem+json.

StudioError
├── BadRequest 400
├── Forbidden 403
├── InvalidInput 422
├── NotFound 404
├── Conflict 409
├── PreconditionFailed 412
├── PayloadTooLarge 413
├── UnsupportedMediaType 415
├── MisdirectedRequest 421
├── DependencyUnavailable 503
└── SettingsError (stops the start of a service; never crosses HTTP)
"""

from collections.abc import Sequence
from typing import ClassVar

from studio.contracts.base import Contract, Json


class FieldError(Contract):
    """One place in the input that is wrong.

    `loc` is the path from the body's root; `line` and `column` count from 1 and are there when the input was YAML.
    """

    loc: list[str | int]
    msg: str
    type: str
    hint: str | None = None
    line: int | None = None
    column: int | None = None


class StudioError(Exception):
    """Base of every error of ours. `code` becomes the problem type `urn:studio:CODE`.

    A message names the thing through `!r` and says what to do. It must hold no secret and no internal address,
    since clients see it.
    """

    code: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"
    status: ClassVar[int] = 500

    def __init__(self, detail: str, *, errors: Sequence[FieldError] = (), extra: dict[str, Json] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = list(errors)
        self.extra = extra or {}
        """Further members of the problem document (RFC 9457 section 3.2)."""


class InvalidInput(StudioError):
    code, title, status = "invalid-input", "Invalid input", 422


class BadRequest(StudioError):
    code, title, status = "bad-request", "Bad request", 400


class Forbidden(StudioError):
    code, title, status = "forbidden", "Forbidden", 403


class MisdirectedRequest(StudioError):
    """The request is for a host that is none of this service's (RFC 9110 section 15.5.20)."""

    code, title, status = "misdirected-request", "Misdirected request", 421


class NotFound(StudioError):
    code, title, status = "not-found", "Not found", 404


class Conflict(StudioError):
    code, title, status = "conflict", "Conflict", 409


class PreconditionFailed(StudioError):
    code, title, status = "precondition-failed", "Precondition failed", 412


class PayloadTooLarge(StudioError):
    code, title, status = "payload-too-large", "Payload too large", 413


class UnsupportedMediaType(StudioError):
    code, title, status = "unsupported-media-type", "Unsupported media type", 415


class DependencyUnavailable(StudioError):
    """A dependency did not answer after its retries. Carries the part's name, never its address."""

    code, title, status = "dependency-unavailable", "Dependency unavailable", 503

    def __init__(self, dependency: str, detail: str | None = None, *, retry_after: int = 2) -> None:
        super().__init__(
            detail or f"{dependency!r} does not answer; the request was not carried out. Try again shortly.",
            extra={"dependency": dependency},
        )
        self.dependency = dependency
        self.retry_after = retry_after
        """Seconds after which a client may try again."""


class SettingsError(StudioError):
    code, title = "invalid-settings", "Invalid settings"


def invalid(errors: Sequence[FieldError]) -> InvalidInput:
    """One error out of many; the detail alone says where the first one is."""
    first = errors[0]
    line = f"line {first.line}, column {first.column}: " if first.line is not None else ""
    place = ".".join(map(str, first.loc))
    hint = f" ({first.hint})" if first.hint else ""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return InvalidInput(f"{line}{place}: {first.msg}{hint}{more}", errors=errors)


def located(errors: Sequence[FieldError], *prefix: str | int) -> list[FieldError]:
    """The same errors with their places counted from further out."""
    return [error.model_copy(update={"loc": [*prefix, *error.loc]}) for error in errors]
