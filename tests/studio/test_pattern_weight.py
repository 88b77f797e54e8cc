import time

import pytest

from studio.expressions import ExpressionError, evaluate
from studio.pattern_weight import MAX_WEIGHT, pattern_weight


class TestPatternWeight:
    def test_grows_with_the_pattern_and_its_repetitions(self) -> None:
        patterns = ["a", r"\d{4}-\d{2}", r"\w", r"\w{10}", r"(\w{10}){5}"]
        weights = [pattern_weight(pattern) for pattern in patterns]
        assert weights == sorted(set(weights))

    @pytest.mark.parametrize(
        "pattern", ["(a{65535}){65535}", r"\w{9999999999}", "(" * 5000, "{5}", "a{,3}", ")))", "["]
    )
    def test_any_text_has_a_weight(self, pattern: str) -> None:
        assert 0 <= pattern_weight(pattern) <= MAX_WEIGHT


class TestMatches:
    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("input.email.matches('^[a-z0-9._%+-]+@[a-z]+[.][a-z]{2,}$')", True),
            ("matches(input.email, 'q')", False),
            ("['ab', 'b'].filter(x, x.matches('^a'))", ["ab"]),
            ("input.matches", "a field"),
            ("'it matches (all)'", "it matches (all)"),
        ],
    )
    def test_value(self, source: str, expected: object) -> None:
        scope: dict[str, object] = {"input": {"email": "ada@example.org", "matches": "a field"}}
        assert evaluate(f"${{{{ {source} }}}}", scope) == expected

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("'a'.matches('(')", "not a regular expression"),
            ("'a'.matches('(a{1000}){1000}')", "not a regular expression"),
            ("'a'.matches(5)", "regular expression as text"),
            ("5.matches('a')", "of a text"),
            (r"input.k.all(x, 'a'.matches(r'\w{100}') || true)", "take too long"),
            (r"input.t.matches(r'\w{100}x$')", "take too long"),
        ],
    )
    def test_what_is_wrong_or_slow_is_refused_soon(self, source: str, message: str) -> None:
        started = time.thread_time()
        with pytest.raises(ExpressionError, match=message):
            evaluate(f"${{{{ {source} }}}}", {"input": {"t": "a" * 1_000_000, "k": list(range(100))}})
        assert time.thread_time() - started < 1
