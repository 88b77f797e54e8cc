"""What static checks find: errors, which refuse a definition, and warnings, which do not."""

from studio.engine.plan import Loc
from studio.errors import FieldError

MAX_FINDINGS = 100


class EnoughError(Exception):
    """There are as many findings as anyone will read."""


class Findings:
    """Collects up to `MAX_FINDINGS`, then raises `EnoughError`."""

    def __init__(self) -> None:
        self.found: list[FieldError] = []

    def add(self, loc: Loc, message: str, kind: str, hint: str | None = None) -> None:
        self.append(FieldError(loc=list(loc), msg=message, type=kind, hint=hint))

    def append(self, error: FieldError) -> None:
        self.found.append(error)
        if len(self.found) >= MAX_FINDINGS:
            raise EnoughError
