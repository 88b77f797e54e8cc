"""Joins: how many branches or edges must have come before a block, or a graph's node, goes on."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from studio.contracts.base import Contract
from studio.contracts.durations import Duration


class AtLeast(Contract):
    at_least: Annotated[int, Field(ge=1, le=10_000)]


class TimedJoin(Contract):
    """How many must succeed, and until when."""

    at_least: Annotated[int | None, Field(ge=1, le=10_000)] = None
    quorum: Annotated[float | None, Field(gt=0, le=1)] = None
    """The share of the branches that must succeed, rounded up."""
    timeout: Duration | None = None
    """When it ends, the rest is cancelled: without `at_least` and `quorum` what came so far is the output."""

    @model_validator(mode="after")
    def _one_count(self) -> "TimedJoin":
        if self.at_least is not None and self.quorum is not None:
            raise ValueError("give at_least or quorum, not both")
        if self.at_least is None and self.quorum is None and self.timeout is None:
            raise ValueError("give at_least, quorum or timeout")
        return self


def _join_tag(value: Any) -> str:
    return "<word>" if isinstance(value, str) else "<at_least>"


Join = Annotated[
    Annotated[Literal["all", "any"], Tag("<word>")] | Annotated[TimedJoin, Tag("<at_least>")],
    Discriminator(_join_tag),
]
NodeJoin = Annotated[
    Annotated[Literal["all", "any"], Tag("<word>")] | Annotated[AtLeast, Tag("<at_least>")],
    Discriminator(_join_tag),
]
