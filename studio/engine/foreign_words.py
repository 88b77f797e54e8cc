"""What people write in expressions who think in another language, and what it is in CEL."""

import re

_WORDS = (
    (re.compile(r"===|!=="), "CEL compares with == and !="),
    (re.compile(r"(?<![=!<>])=(?!=)"), "CEL compares with =="),
    (re.compile(r"\band\b"), "CEL writes && for and"),
    (re.compile(r"\bor\b"), "CEL writes || for or"),
    (re.compile(r"\bnot\b"), "CEL writes ! for not"),
    (re.compile(r"\bif\b.*\belse\b"), "CEL writes condition ? one : other"),
    (re.compile(r"=>|\blambda\b|\bfor\b"), "CEL writes list.map(x, …) and list.filter(x, …)"),
    (re.compile(r"\b(len|length|count)\b"), "CEL writes size(list)"),
    (re.compile(r"\bstr\("), "CEL writes string(number)"),
    (re.compile(r"\bfloat\("), "CEL writes double(number)"),
    (re.compile(r"\?\?"), "CEL writes has(input.x) ? input.x : other"),
    (re.compile(r"\|(?!\|)"), "filters are for templates; CEL has functions"),
)


def syntax_hint(expression: str) -> str | None:
    """For an expression that cannot be read."""
    return next((hint for word, hint in _WORDS if word.search(expression)), None)
