"""What an expression names inside an index is named, and a field behind an index is no field of the whole."""

from studio.expressions import compile_expression


class TestNames:
    def test_has_behind_an_index_names_what_the_index_names(self) -> None:
        expression = compile_expression("has(input.prices[steps.pick.output].amount)")
        assert expression.steps == {"pick"}
        assert expression.paths == {("input", "prices"), ("steps", "pick", "output")}
        assert expression.names.tested == frozenset()

    def test_in_behind_an_index_asks_for_no_field_of_the_list(self) -> None:
        assert compile_expression("'total' in input.rows[0]").names.tested == frozenset()
        assert compile_expression("'total' in input.row['first']").names.tested == {("input", "row", "first", "total")}

    def test_comparisons_behind_an_index_are_of_an_item(self) -> None:
        assert compile_expression("steps.a.output.decision[0] == 'x'").names.compared == frozenset()
        assert compile_expression("steps['a'].status == 'x'").names.compared == {(("steps", "a", "status"), "x")}
