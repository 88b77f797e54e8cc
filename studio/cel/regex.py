"""`matches`: RE2's regular expressions, in time that grows with the text alone: Rust's engine, out of a CEL library."""

from studio.cel.budget import Budget
from studio.cel.errors import LimitFault, failure
from studio.cel_engine import cel
from studio.pattern_weight import pattern_weight

_PER_STEP = 4
"""Units of weight for a step."""
_PER_MATCH = 60
_PATTERN_STATES = 20_000
_TOO_SLOW = "its regular expressions take too long: do such work in a tool or an agent"
_MATCHES = cel.compile("text.matches(pattern)")


def matches(budget: Budget, text: str, pattern: str) -> bool:
    """Whether the pattern is found in the text. A pattern is compiled at every call, and some are slow to run."""
    weight = pattern_weight(pattern)
    try:
        budget.spend(_PER_MATCH + (weight + len(text) // 16 + len(text) * (weight // _PATTERN_STATES)) // _PER_STEP)
    except LimitFault:
        raise LimitFault(_TOO_SLOW) from None
    try:
        return bool(_MATCHES.execute(cel.Context({"text": text, "pattern": pattern})))
    except ValueError:  # half of a surrogate pair
        raise failure("`matches` got a text that has no UTF-8") from None
    except RuntimeError:
        raise failure(f"{pattern[:80]!r} is not a regular expression that `matches` takes") from None
