"""What a regular expression costs, told from its source.

Rust's regex engine runs in time that grows with the text, but compiling takes as long as the pattern is large: tens of
milliseconds where classes of Unicode letters are repeated. Source: https://docs.rs/regex (untrusted input).
"""

import re

MAX_WEIGHT = 1_500_000
"""In copies of a number, see `cel.regex`: 90 ms, by which the engine has refused what is larger."""
_CHARACTER = 100
_SMALL_CLASS = 800
_CLASS = 8_000
_TOKEN = re.compile(
    r"(?P<repeat>\{(\d+)(?:,(\d*))?\})|(?P<unicode>\\[wWDSpP])|(?P<small>\\[dsbB]|\.)|(?P<set>\[(?:\\.|[^\]\\])*\]?)"
    r"|(?P<open>\()|(?P<close>\))|\\.|.",
    re.DOTALL,
)
_UNICODE = re.compile(r"\\[wWDSpP]")
_NO_CASE = re.compile(r"\(\?[a-zA-Z]*i")


def pattern_weight(pattern: str) -> int:
    """About 60 ns each, for compiling it once."""
    factor = 4 if _NO_CASE.search(pattern) else 1
    groups = [0]
    last = 0
    for token in _TOKEN.finditer(pattern):
        match token.lastgroup:
            case "repeat":
                counts = [int(number[:6]) for number in token.group(2, 3) if number]
                last *= max([*counts, 1]) - 1
                groups[-1] += last
                continue
            case "open":
                groups.append(0)
                continue
            case "close" if len(groups) > 1:
                last = groups.pop()
            case "unicode":
                last = _CLASS
            case "small":
                last = _SMALL_CLASS
            case "set":
                last = _CHARACTER * len(token.group()) + _CLASS * len(_UNICODE.findall(token.group()))
            case _:
                last = _CHARACTER
        groups[-1] += last
        if sum(groups) > MAX_WEIGHT:
            break
    return min(MAX_WEIGHT, factor * sum(groups))
