import subprocess
import sys

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

    def test_variables_of_macros_are_not_names(self) -> None:
        assert compile_expression("input.list.map(i, i)").roots == {"input"}

    @pytest.mark.parametrize("source", ["steps[input.a].output", "size(steps)", "[steps]"])
    def test_it_knows_when_all_steps_are_meant(self, source: str) -> None:
        assert compile_expression(source).whole_steps

    @pytest.mark.parametrize(
        "text",
        ["${{ 1 + }}", "${{ }}", "${{ input", "${{ 'open }}", "${{ a.map(a, a.map(b, b.map(c, c.map(d, d)))) }}"],
    )
    def test_what_cannot_be_read_is_an_error(self, text: str) -> None:
        with pytest.raises(ExpressionError):
            expressions_in({"deep": [text]})
