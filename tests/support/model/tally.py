"""When a parallel block has what it waits for."""

from fractions import Fraction
from math import ceil

from studio.contracts.joins import TimedJoin
from studio.contracts.steps import ParallelBlock
from tests.support.model.actors import Actor
from tests.support.model.results import Failure, Result


class Tally:
    """`verdict` is None while nothing is decided, else `met` or what the block fails with (None as path: its own)."""

    def __init__(self, block: ParallelBlock, total: int) -> None:
        self._total = total
        self._needed = _needed(block, total)
        self._at_once = (block.on_branch_error or ("fail" if self._needed is None else None)) == "fail"
        self._over: list[Actor] = []
        self.timed_out = False
        self.verdict: str | Failure | None = None

    def count(self, branch: Actor) -> None:
        """It is over; once it was counted, this changes nothing."""
        if branch not in self._over:
            self._over.append(branch)

    def decide(self) -> None:
        """A verdict is final."""
        if self.verdict is None:
            self.verdict = self._judge()

    def _judge(self) -> str | Failure | None:
        results: list[Result] = [branch.result for branch in self._over]
        failures = [result.failure for result in results if result.failure is not None]
        succeeded = sum(1 for result in results if result.kind == "done")
        if failures and self._at_once:
            return failures[0]
        if self._needed is None:
            return "met" if self.timed_out or len(self._over) == self._total else None
        if succeeded >= self._needed:
            return "met"
        if self.timed_out:
            return Failure("timeout", None)
        if succeeded + self._total - len(self._over) < self._needed:
            return Failure("join_unmet", None)
        return None


def _needed(block: ParallelBlock, total: int) -> int | None:
    """None for all of them."""
    match block.join:
        case "any":
            return 1
        case TimedJoin(at_least=int(count)):
            return count
        case TimedJoin(quorum=float(share)):
            return ceil(Fraction(str(share)) * total)
        case _:
            return None
