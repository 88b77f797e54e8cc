"""What an expression may cost is counted, whatever its work hides in, and what it gives is never too deep to write."""

import gc
import time
import weakref

import pytest

from studio.contracts.base import Json
from studio.expressions import ExpressionError, compile_expression, evaluate


def run(expression: str, **given: Json) -> Json:
    return compile_expression(expression).evaluate({"input": given})


class TestWork:
    def test_a_large_value_is_compared_with_small_ones_at_their_cost(self) -> None:
        large = [list(range(100)) for _ in range(1_000)]
        begin = time.perf_counter()
        assert run("input.few.exists(x, input.large == [[x]])", few=list(range(1_000)), large=large) is False
        assert time.perf_counter() - begin < 3  # looking at all of it each time takes ten times as long

    def test_two_large_values_count_whole(self) -> None:
        large = [list(range(100)) for _ in range(1_000)]
        with pytest.raises(ExpressionError, match="it takes too long"):
            run("[1, 2, 3, 4, 5, 6].all(x, input.large == input.same)", large=large, same=[*large])

    def test_a_large_map_is_not_sorted_again_and_again(self) -> None:
        large: Json = {f"k{index * 7919 % 100_000}": index for index in range(100_000)}
        with pytest.raises(ExpressionError, match="it takes too long"):
            run("[1, 2, 3, 4, 5, 6].map(x, input.large.exists(key, true))", large=large)


class TestDepth:
    def test_parts_that_stand_at_several_depths_count_at_the_deepest(self) -> None:
        deeper = f".map(x, [x, {'[' * 35}x{']' * 35}])"
        with pytest.raises(ExpressionError, match="nested deeper than 100 levels"):
            run(f"[1]{deeper * 15}")

    def test_a_shared_part_within_the_limit_is_written(self) -> None:
        assert run("[[[input.x + 1]]].map(x, [x, [x]])", x=1) == [[[[2]], [[[2]]]]]


class TestMemory:
    def test_few_long_expressions_are_kept(self) -> None:
        first = weakref.ref(compile_expression(f"[{', '.join(['1'] * 300)}]"))
        for index in range(200):
            compile_expression(f"[{', '.join(['1'] * 300)}, {index}]")
        gc.collect()
        assert first() is None

    def test_a_long_text_is_evaluated_like_a_short_one(self) -> None:
        assert evaluate("x" * 600 + "${{ input.a }}", {"input": {"a": 1}}) == "x" * 600 + "1"


class TestTexts:
    def test_half_of_a_surrogate_pair_fails_the_expression(self) -> None:
        for text, pattern in (("\ud800", "a"), ("a", "\ud800")):
            with pytest.raises(ExpressionError, match="no UTF-8"):
                run("input.text.matches(input.pattern)", text=text, pattern=pattern)
