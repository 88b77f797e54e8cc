"""Random expressions, evaluated here and by the CEL library in Rust: where both give a value, it is the same."""

import cel
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.expressions import ExpressionError, evaluate

WHOLE = st.integers(-(1 << 63), (1 << 63) - 1).map(lambda number: f"({number})") | st.integers(-9, 9).map(
    lambda number: f"({number})"
)
DOUBLE = st.floats(-1e6, 1e6).map(lambda number: f"({float(number)!r})")
TEXT = st.text("ab'é日", max_size=4).map(lambda text: '"' + text + '"')
BOOL = st.sampled_from(["true", "false"])
OPERATORS = st.sampled_from(["+", "-", "*", "/", "%", "<", "<=", ">", ">=", "==", "!="])


def combined(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    lists = st.lists(parts, max_size=3).map(lambda items: f"[{', '.join(items)}]")
    return (
        st.tuples(parts, OPERATORS, parts).map(lambda three: f"({' '.join(three)})")
        | st.tuples(parts, st.sampled_from(["&&", "||"]), parts).map(lambda three: f"({' '.join(three)})")
        | st.tuples(parts, parts, parts).map(lambda three: f"({three[0]} ? {three[1]} : {three[2]})")
        | lists
        | st.tuples(parts, lists).map(lambda two: f"({two[0]} in {two[1]})")
        | st.tuples(lists, parts).map(lambda two: f"{two[0]}.map(x, {two[1]})")
        | st.tuples(lists, parts).map(lambda two: f"{two[0]}.filter(x, x == {two[1]})")
        | st.tuples(lists, parts).map(lambda two: f"{two[0]}.exists(x, x == {two[1]} || {two[1]} == 1)")
    )


def by_rust(source: str) -> object:
    try:
        return cel.evaluate(source)
    except BaseException:  # noqa: BLE001 - the library raises whatever it likes, panics too
        return None


@settings(max_examples=150, deadline=None)
@given(st.recursive(WHOLE | DOUBLE | TEXT | BOOL, combined, max_leaves=8))
def test_values_agree(source: str) -> None:
    reference = by_rust(source)
    if reference is None:
        return
    try:
        ours = evaluate(f"${{{{ {source} }}}}", {})
    except ExpressionError as error:
        assert "JSON" in error.message, source  # noqa: PT017 - an infinite number
    else:
        assert repr(ours) == repr(reference), source
