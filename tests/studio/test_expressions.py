import re
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from studio.contracts.base import Json
from studio.expressions import ExpressionError, compile_expression, evaluate, expressions_in, split_template

SCOPE: dict[str, Json] = {
    "input": {"a": 1, "list": ["x", "y"], "map": {"z": 1, "y": 2, "x": 3}, "rows": [{"n": [1, 2]}, {"n": [3]}]},
    "steps": {"plan": {"output": "text", "status": "succeeded", "error": None}},
}


class TestEvaluate:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("plain", "plain"),
            ("${{ input.a }}", 1),
            ("${{ input.a + 1 }}", 2),
            ("a=${{ input.a }}, l=${{ input.list }}", 'a=1, l=["x","y"]'),
            ('${{ {"a": {"b": input.a}} }}', {"a": {"b": 1}}),
            ("${{ '}}' + \"${{\" }}", "}}${{"),
            ('${{ steps["plan"].output }}', "text"),
            ("${{ input.rows[1].n[0] }}", 3),
            ("${{ input.list.map(i, i + '!') }}", ["x!", "y!"]),
            ("${{ input.rows.map(r, r.n.filter(n, n > 1)) }}", [[2], [3]]),
            ("${{ input.list.exists(x, x == 'a.map(b, c)') }}", False),
            ("${{ duration('90s') }}", "90s"),
            ("${{ timestamp('2026-01-02T03:04:05Z') }}", "2026-01-02T03:04:05.000000Z"),
            ("${{ b'hi' }}", "aGk="),
            ("${{ duration('400h') }}", "1440000s"),
            ("${{ duration('-1.5s') }}", "-1.5s"),
            ("${{ duration('400h') + duration('1us') }}", "1440000.000001s"),
            ("${{ 1 in[1,2].map(x,x) }}", True),
            ("${{ 1in[1,2].map(x,x) }}", True),
            ("${{ 'x'in(input.list).map(x,x) }}", True),
            ("${{ {'a': [1]}['a'].map(x, x + 1) }}", [2]),
            ("${{ [1, 2, 3].map(x, x > 1, x * 2) }}", [4, 6]),
            ("${{ input.list.map(x, // it's (a, comment\nx) }}", ["x", "y"]),
            ("${{ input.map.filter(k, k in {'x': 1, ',)': 2}) }}", ["x"]),
            ("nothing: ${{ steps.plan.error }}.", "nothing: ."),
        ],
    )
    def test_value(self, text: str, expected: Json) -> None:
        assert evaluate(text, SCOPE) == expected

    @pytest.mark.parametrize(
        "source",
        ["input.nope", "input.list[9]", "input.a.b", "nope", "1 / 0", "9223372036854775807 + 1", "input.a + 'x'"],
    )
    def test_what_goes_wrong_is_an_error_with_its_source(self, source: str) -> None:
        with pytest.raises(ExpressionError) as caught:
            evaluate(f"${{{{ {source} }}}}", SCOPE)
        assert caught.value.expression == source
        assert caught.value.message

    @pytest.mark.parametrize("source", ['input[""]', "{1: 2, true: 3}", "{1.5: 2}", "{'a': 1, 'a': 2}", "[[{2: 1}]]"])
    def test_keys_are_text_and_there(self, source: str) -> None:
        with pytest.raises(ExpressionError):
            evaluate(f"${{{{ {source} }}}}", SCOPE)

    def test_an_empty_key_is_a_key(self) -> None:
        assert evaluate('${{ input[""][0] }}', {"input": {"": [7]}}) == 7

    @pytest.mark.parametrize(
        "source",
        [
            "input.l.map(x, x)",
            "input.l.filter(x, x >= 0)",
            "input.l.map(x, input.l)",
            "input.l.all(x, input.l.all(y, y >= 0))",
            "input.l.exists(x, true || input.l.map(y, y) == [])",
            "true || input.l.map(x, x) == []",
            "input.r.filter(x, x.a >= 0)",
            "input.l.all(x, x in input.l)",
            "input.l.existsOne(x, size(input.l) == x)",
            "[input.l].all(r, r.all(x, x in r))",
            "size(input.rows) > 0 || input.rows[0].a > 0",
            " + ".join(["input.text"] * 600),
            f"['{'x' * 900}'].map(a, {'+'.join('a' * 500)}).map(b, {'+'.join('b' * 500)}).map(c, c + c)",
        ],
    )
    def test_what_would_take_long_is_refused_soon(self, source: str) -> None:
        scope: Json = {
            "l": list(range(10_000)),
            "r": [{"a": 1, "b": "x" * 500}] * 2_000,
            "rows": [{"a": 1, "b": 2}] * 100_000,
            "text": "x" * 1_000_000,
        }
        started = time.thread_time()
        try:
            evaluate(f"${{{{ {source} }}}}", {"input": scope})
        except ExpressionError as error:
            assert re.search("too l|larger than", error.message)  # noqa: PT017 - `||` may leave the rest unread
        assert time.thread_time() - started < 1

    def test_only_what_is_named_is_handed_over(self) -> None:
        scope: dict[str, Json] = {"input": {"rows": [{"a": 1}] * 200_000, "n": 1, "deep": {"m": {"k": 2}}}}
        assert evaluate("${{ input.n + input['deep'].m.k }}", scope) == 3
        assert evaluate("${{ has(input.deep.none) || 'x' in input.deep.m }}", scope) is False

    def test_the_budget_is_for_one_evaluation(self) -> None:
        scope: dict[str, Json] = {"input": list(range(1_000))}
        for _ in range(12):
            assert evaluate("${{ input.map(x, x)[999] }}", scope) == 999
        with pytest.raises(ExpressionError, match="too long"):
            evaluate("${{ input.all(y, size(input.map(x, x)) > 0) }}", scope)

    def test_long_lists_may_be_searched(self) -> None:
        rows: list[Json] = [{"id": number, "name": f"n{number}"} for number in range(10_000)]
        assert evaluate("${{ input.filter(r, r.id == 9999)[0].name }}", {"input": rows}) == "n9999"

    @pytest.mark.parametrize("text", ["${{ input.a == input.a }}", "text ${{ input }}"])
    def test_values_nested_too_deeply_are_refused(self, text: str) -> None:
        deep: Json = []
        for _ in range(50_000):
            deep = [deep]
        with pytest.raises(ExpressionError):
            evaluate(text, {"input": {"a": deep} if "input.a" in text else deep})

    def test_expressions_in_what_is_nested_too_deeply_are_refused(self) -> None:
        deep: Json = "${{ 1 + 1 }}"
        for _ in range(5_000):
            deep = [deep]
        with pytest.raises(ExpressionError, match="nested deeper"):
            evaluate(deep, {})
        with pytest.raises(ExpressionError, match="nested deeper"):
            expressions_in(deep)

    def test_a_result_nested_too_deeply_is_refused(self) -> None:
        deep: Json = []
        for _ in range(99):
            deep = [deep]
        assert evaluate("${{ input }}", {"input": deep}) == deep
        with pytest.raises(ExpressionError, match="nested deeper"):
            evaluate("${{ [[input]] }}", {"input": deep})

    def test_a_result_of_more_than_8_mib_is_refused(self) -> None:
        scope: dict[str, Json] = {"input": "x" * 5_000_000}
        assert evaluate("${{ input }}", scope) == scope["input"]
        for text in ("${{ input + input }}", "${{ [input, input] }}", "${{ input }}, ${{ input }}"):
            with pytest.raises(ExpressionError, match="8 MiB"):
                evaluate(text, scope)

    @pytest.mark.parametrize(
        "source", ["input.__class__", "''.__class__.__mro__", "input.map.keys()", "__import__('os')"]
    )
    def test_python_cannot_be_reached(self, source: str) -> None:
        with pytest.raises(ExpressionError):
            evaluate(f"${{{{ {source} }}}}", SCOPE)

    def test_maps_are_walked_in_the_order_of_their_keys_in_every_process(self) -> None:
        program = (
            "from studio.expressions import evaluate; import json;"
            "print(json.dumps(evaluate(\"${{ [m.map(k, k), m.filter(k, true), {'b': m, 'a': 1}] }}\","
            " {'m': {c: 1 for c in 'qwertyuiop'}})))"
        )
        answers = {
            subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout for _ in "123"
        }
        assert len(answers) == 1

    @given(st.recursive(st.none() | st.booleans() | st.text().filter(lambda t: "${{" not in t), st.lists))
    def test_values_without_expressions_stay(self, value: Json) -> None:
        assert evaluate(value, SCOPE) == value

    @given(st.text())
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        try:
            pieces = split_template(text)
        except ExpressionError:
            return
        assert all(isinstance(piece, str) or "${{" in text for piece in pieces)


class TestCompile:
    def test_it_knows_which_steps_are_named(self) -> None:
        found = compile_expression('steps.plan.output + steps["x"].output + "steps.nope" + foo.steps.bar')
        assert found.steps == {"plan", "x"}
        assert not found.whole_steps
        assert found.roots == {"steps", "foo"}

    def test_it_knows_the_fields_that_are_named(self) -> None:
        found = compile_expression("input.a.b[0].c + size(input['d']) + e.f.size() + [1].map(x, x.y)[0] // input.z")
        assert found.paths == {("input", "a", "b"), ("input", "d"), ("e", "f")}

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("foo(1)", "there is no function 'foo'"),
            ("input.a.startswith('x')", "did you mean 'startsWith'"),
            ("_made(0, input)", "there is no function '_made'"),
            ("[1].map(x, _ordered(0, x))", "there is no function '_ordered'"),
            ("1 +", "character 4: a value is missing before its end"),
            ("[[1].map(x, x), ]]", "character 18"),
            ("[" * 500, "nested too deeply"),
            ("1 + \u0663", "character 5: '\u0663' is no part of CEL"),
        ],
    )
    def test_what_is_wrong_is_told_of_the_source(self, source: str, message: str) -> None:
        with pytest.raises(ExpressionError) as caught:
            compile_expression(source)
        assert message in caught.value.message

    def test_variables_of_macros_are_not_names(self) -> None:
        assert compile_expression("input.list.map(i, i)").roots == {"input"}

    @pytest.mark.parametrize("source", ["steps[input.a].output", "size(steps)", "[steps]"])
    def test_it_knows_when_all_steps_are_meant(self, source: str) -> None:
        assert compile_expression(source).whole_steps

    def test_what_does_not_close_is_found_soon(self) -> None:
        started = time.thread_time()
        with pytest.raises(ExpressionError):
            split_template("${{ '" + "\\'" * 32_000)
        assert time.thread_time() - started < 3

    @pytest.mark.parametrize(
        "text",
        ["${{ 1 + }}", "${{ }}", "${{ input", "${{ 'open }}"],
    )
    def test_what_cannot_be_read_is_an_error(self, text: str) -> None:
        with pytest.raises(ExpressionError):
            expressions_in({"deep": [text]})
