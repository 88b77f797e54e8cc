"""What people write wrong on their first day, and what they are told: the kind of finding, and what to write."""

from typing import Any

import pytest

from api.apply.checking import check_documents
from api.apply.parsing import SourceDocument
from studio.documents import load_documents
from studio.errors import FieldError, InvalidInput

CHOICE = '{description: "${{ 1 }}", steps: [{id: y, transform: 1}]}'
WORKER = '{name: w, agent: w, description: "${{ 1 }}"}'
HEAD = "kind: workflow\nname: w\npattern: sequential\n"
WORKFLOW = HEAD + "input_schema: {type: object, properties: {n: {type: number}}}\nsteps:\n"


def findings(text: str) -> tuple[list[FieldError], list[FieldError]]:
    """Errors and warnings, as `validate` and `apply` find them."""
    try:
        documents = load_documents(text)
    except InvalidInput as error:
        return error.errors, []
    checked = check_documents([SourceDocument(document.value, document) for document in documents])
    return [error for _, error in checked.ordered()], [warning for _, warning in checked.ordered_warnings()]


def steps(*lines: str) -> str:
    return WORKFLOW + "".join(f"  - {line}\n" for line in lines)


def refused(text: str) -> FieldError:
    errors, _ = findings(text)
    (error,) = errors
    assert error.line is not None
    return error


def warned(text: str) -> FieldError:
    errors, warnings = findings(text)
    assert errors == []
    (warning,) = warnings
    return warning


def sound(text: str) -> None:
    assert findings(text) == ([], [])


class TestClosedSets:
    @pytest.mark.parametrize(
        ("expression", "told"),
        [
            ("steps.a.ouput", "'output'"),
            ("steps.a.error.mesage", "'message'"),
            ("steps.a.error.code", "fields are type, message, step_id"),
            ("steps.a.errors", "'error'"),
            ("steps['a']['stauts']", "'status'"),
            ("size(steps.a.outputs)", "'output'"),
            ("prev.ouput", "'output'"),
            ("run.idd", "'id'"),
            ("run.user", "'user_id'"),
            ("[1].map(x, steps.a.ouput)", "'output'"),
            ("steps.shape.output.hieght", "'height'"),
            ("steps.ok.output.decison", "'decision'"),
        ],
    )
    def test_a_misspelt_field_is_an_error(self, expression: str, told: str) -> None:
        error = refused(
            steps(
                "{id: a, transform: 1}",
                "{id: shape, transform: {height: 1, width: 2}}",
                "{id: ok, approval: {message: May I?}, input: 1}",
                f'{{id: b, transform: "${{{{ {expression} }}}}"}}',
            )
        )
        assert error.type == "unknown_field"
        assert told in str(error.hint)

    @pytest.mark.parametrize("expression", ["steps.a.status.x", "steps.say.output.answer", "run.id.x", "prev.status.y"])
    def test_what_has_no_fields_is_not_asked_for_one(self, expression: str) -> None:
        text = steps(
            "{id: say, agent: writer}", "{id: a, transform: 1}", f'{{id: b, transform: "${{{{ {expression} }}}}"}}'
        )
        assert refused(text).type == "unknown_field"

    def test_a_misspelt_field_of_an_error_in_what_catches_it(self) -> None:
        error = refused(
            steps('{id: a, transform: "${{ 1 / input.n }}", on_error: [{catch: all, steps: '
                  '[{id: b, transform: "${{ error.mesage }}"}]}]}')
        )  # fmt: skip
        assert error.hint == "did you mean 'message'?"

    @pytest.mark.parametrize(
        "expression",
        [
            "has(steps.a.output.x) ? steps.a.output.x : 1",
            "'x' in run.metadata ? run.metadata.x : ''",
            "has(steps.a.output.x.y)",
            "steps.caught.output.anything",
            "steps.each.errors",
            "run.metadata.anything",
            "steps.fetch.output.anything",
            "steps.shape.output.open.anything",
        ],
    )
    def test_what_may_be_there_is_left_alone(self, expression: str) -> None:
        sound(
            steps(
                '{id: a, transform: "${{ input }}"}',
                "{id: caught, transform: {x: 1}, on_error: [{catch: all, steps: [{id: c, transform: 2}]}]}",
                "{id: each, parallel: {for_each: [1], do: {id: d, transform: 1}, on_branch_error: collect}}",
                "{id: fetch, wait: {signal: fetched}}",
                '{id: shape, transform: {open: "${{ input }}"}}',
                f'{{id: b, transform: "${{{{ {expression} }}}}"}}',
            )
        )

    @pytest.mark.parametrize(
        ("condition", "hint"),
        [
            ("steps.a.status == 'success'", "did you mean 'succeeded'?"),
            ("'Failed' != steps.a.status", "did you mean 'failed'?"),
            ("steps.a.status in ['skiped', 'failed']", "did you mean 'skipped'?"),
            ("prev.status == 'ok'", "it is one of"),
            ("steps.ok.output.decision == 'approved'", "did you mean 'approve'?"),
            ("steps.a.error.type == 'timed_out'", "did you mean 'timeout'?"),
            ("input.n > 1 && steps.a.status == 'done'", "it is one of"),
        ],
    )
    def test_a_comparison_with_what_it_never_is_warns(self, condition: str, hint: str) -> None:
        warning = warned(
            steps(
                "{id: ok, approval: {message: May I?}, input: 1}",
                "{id: a, transform: 1}",
                f'{{id: b, transform: 1, when: "${{{{ {condition} }}}}"}}',
            )
        )
        assert warning.type == "never_runs"
        assert hint in str(warning.hint)

    @pytest.mark.parametrize("place", ["steps.a.output.error.type", "prev.output.error.type"])
    def test_an_error_inside_an_output_has_any_type(self, place: str) -> None:
        sound(
            steps(
                "{id: a, transform: '${{ input }}'}",
                f"{{id: b, transform: 1, when: \"${{{{ {place} == 'no_stock' }}}}\"}}",
            )
        )

    def test_a_type_that_a_step_fails_with_is_one_of_them(self) -> None:
        sound(
            steps(
                "{id: a, fail: {type: no_stock, message: none}, on_error: continue}",
                "{id: b, transform: 1, when: \"${{ steps.a.error.type == 'no_stock' }}\"}",
            )
        )


class TestPrev:
    @pytest.mark.parametrize(
        "first",
        [
            '{id: a, transform: "${{ prev.output }}"}',
            '{id: a, transform: 1, when: "${{ prev.output == 1 && true }}"}',
            '{id: a, sequential: {steps: [{id: b, transform: "${{ prev.output.x }}"}]}}',
            '{id: a, parallel: {branches: [{id: b, transform: "${{ prev.status }}"}]}}',
        ],
    )
    def test_the_first_step_has_none(self, first: str) -> None:
        error = refused(steps(first))
        assert error.type == "early_reference"
        assert "no step comes before" in error.msg

    @pytest.mark.parametrize(
        "step",
        [
            '{id: a, transform: "${{ prev == null ? 1 : prev.output }}"}',
            '{id: a, loop: {do: [{id: b, transform: "${{ prev.output }}"}], until: "${{ prev.output == 3 }}"}}',
            '{id: a, agent: w, on_error: [{catch: all, steps: [{id: b, transform: "${{ prev.output }}"}]}]}',
            '{id: a, transform: 1, compensate: {id: b, transform: "${{ prev.output }}"}}',
            '{id: a, sequential: {steps: [{id: b, transform: 1}, {id: c, transform: "${{ prev.output }}"}]}}',
        ],
    )
    def test_where_a_step_may_come_before_it_is_there(self, step: str) -> None:
        assert findings(steps(step))[0] == []

    def test_the_output_of_a_workflow_may_be_of_its_last_step(self) -> None:
        sound(steps("{id: a, transform: 1}") + 'output: "${{ prev.output }}"\n')


class TestTwoLanguages:
    @pytest.mark.parametrize("field", ["message", "instructions"])
    def test_an_expression_in_a_template(self, field: str) -> None:
        for text in (f'kind: agent\nname: a\n{field}: "Hi ${{{{ name }}}}"\n',
                     steps(f'{{id: a, input: {{name: x}}, agent: {{{field}: "Hi ${{{{ name }}}}"}}}}')):  # fmt: skip
            error = refused(text)
            assert error.type == "expression_in_template"
            assert "write {{ name }}" in str(error.hint)

    @pytest.mark.parametrize(
        "message", ["{{ '$' }}{{ price }}", "{% raw %}${{ x }}{% endraw %}", "$ {{ price }}", "{{ price }}$", "$5"]
    )
    def test_dollars_beside_templates_are_fine(self, message: str) -> None:
        sound(f"kind: agent\nname: a\nmessage: '{message.replace(chr(39), chr(39) * 2)}'\n")

    @pytest.mark.parametrize(
        "step",
        [
            '{id: b, transform: "Hello {{ steps.a.output }}"}',
            '{id: b, transform: {deep: ["{{ name }}"]}}',
            '{id: b, agent: w, input: {text: "{{ input.n }}"}}',
            '{id: b, approval: {message: "May I {{ name }}?"}, input: 1}',
        ],
    )
    def test_a_template_where_expressions_stand_warns(self, step: str) -> None:
        warning = warned(steps("{id: a, transform: 1}", step))
        assert warning.type == "template_in_text"
        assert "${{ … }}" in str(warning.hint)

    @pytest.mark.parametrize("name", ["steps.a.output", "steps.a.output.title", "prev.output"])
    def test_a_template_that_names_a_step(self, name: str) -> None:
        error = refused(steps("{id: a, transform: 1}", f'{{id: b, agent: {{message: "{{{{ {name} }}}}"}}}}'))
        assert error.type == "not_in_template"
        assert "the step's input only" in error.msg

    @pytest.mark.parametrize(
        ("given", "message", "told"),
        [
            ("{name: Ada}", "{{ nme }}", "did you mean 'name'?"),
            ("{name: Ada}", "{{ steps.a.output }}", "'steps'"),
            ("text", "{{ name }}", "its one variable is `input`"),
            ("[1, 2]", "{{ items }}", "its one variable is `input`"),
            ('"Dear ${{ steps.a.output }}"', "{{ name }}", ""),
            ("{}", "{{ name }}", "none"),
        ],
    )
    def test_a_variable_that_a_written_input_does_not_have(self, given: str, message: str, told: str) -> None:
        text = steps("{id: a, transform: 1}", f'{{id: b, input: {given}, agent: {{instructions: "{message}"}}}}')
        errors, _ = findings(text)
        if given.startswith('"Dear'):
            assert errors == []  # it is text, or whatever the expression in it gives
            return
        (error,) = errors
        assert error.type == "unknown_variable"
        assert told in f"{error.msg} {error.hint}"

    @pytest.mark.parametrize(
        "step",
        [
            '{id: b, agent: {message: "{{ nme }}"}}',
            '{id: b, input: "${{ input }}", agent: {message: "{{ nme }}"}}',
            '{id: b, input: {x: 1}, agent: {message: "{{ nme | default(1) }}{% for y in [x] %}{{ y }}{% endfor %}"}}',
            '{id: b, input: {item: 1, run: {id: 2}}, agent: {message: "{{ item }} {{ run.id }}"}}',
            '{id: b, input: text, agent: {message: "{{ input }}"}}',
        ],
    )
    def test_variables_that_may_be_there(self, step: str) -> None:
        sound(steps(step))

    @pytest.mark.parametrize(
        ("when", "hint"),
        [
            ('"{{ input.n == 1 }}"', "write ${{ input.n == 1 }}"),
            ("input.n == 1", "write ${{ input.n == 1 }}"),
            ("yes", "write true"),
            ("No", "write false"),
            ("on", "write true"),
            ('"x ${{ true }}"', "one expression alone, nothing around it"),
        ],
    )
    def test_a_condition_that_is_none(self, when: str, hint: str) -> None:
        assert refused(steps(f"{{id: a, transform: 1, when: {when}}}")).hint == hint

    @pytest.mark.parametrize(
        ("step", "place"),
        [
            ('{id: a, agent: {model: "${{ input.n }}"}}', "model"),
            ('{id: a, agent: {model: "{{ name }}"}}', "model"),
            ('{id: a, agent: {params: {temperature: "${{ input.n }}"}}}', "temperature"),
            ('{id: a, agent: {params: {stop: ["${{ input.n }}"]}}}', 0),
            ('{id: a, transform: 1, name: "Step ${{ input.n }}"}', "name"),
            (f"{{id: a, hierarchical: {{manager: m, workers: [{WORKER}]}}}}", "description"),
            (f"{{id: a, conditional: {{route: {{agent: r, choices: {{x: {CHOICE}}}}}}}}}", "description"),
            ('{id: a, workflow: "${{ input.n }}"}', "workflow"),
            ('{id: a, agent: "${{ input.n }}"}', "agent"),
            ('{id: a, wait: {signal: "${{ input.n }}"}}', "signal"),
            ('{id: a, agent: w, timeout: "${{ input.n }}"}', "timeout"),
            ('{id: a, wait: {for: "${{ input.n }}"}}', "for"),
            ('{id: a, agent: w, retry: {max_attempts: "${{ input.n }}"}}', "max_attempts"),
            ('{id: a, agent: w, on_error: "${{ input.n }}"}', "on_error"),
        ],
    )  # fmt: skip
    def test_an_expression_where_none_is_evaluated(self, step: str, place: Any) -> None:
        error = refused(steps(step))
        assert error.loc[-1] == place
        told = f"{error.msg} {error.hint}"
        assert any(word in told for word in ("expression", "no template", "fail, continue"))

    def test_an_expression_in_the_input_of_a_schedule(self) -> None:
        text = 'kind: schedule\nname: s\nworkflow: w\ncron: 0 0 * * *\ninput: {day: "${{ now() }}"}\n'
        assert refused(text).loc == ["input", "day"]

    def test_descriptions_and_schemas_may_speak_of_expressions(self) -> None:
        sound(
            HEAD + 'description: "gives ${{ input }}"\n'
            'input_schema: {type: object, properties: {x: {type: string, description: "as ${{ x }}"}}}\n'
            "steps:\n  - {id: a, transform: 1}\n"
        )


class TestWords:
    @pytest.mark.parametrize("word", ["true", "null", "in", "if", "for", "loop", "return", "package"])
    def test_a_word_of_cel_is_no_id(self, word: str) -> None:
        error = refused(steps(f'{{id: "{word}", transform: 1}}'))
        assert (error.type, error.hint) == ("reserved_id", f"write {word}_step")

    @pytest.mark.parametrize(
        ("step", "told"),
        [
            ("{id: a, agent: w, if: x}", "`when: "),
            ("{id: a, agent: w, with: {x: 1}}", "`input: "),
            ("{id: a, map: [1]}", "`parallel: "),
            ("{id: a, agent: w, foreach: [1]}", "`parallel: "),
            ("{id: a, agent: w, depends_on: [b]}", "`edges`"),
            ("{id: a, prompt: Hello}", "`agent: "),
            ("{id: a, agent: w, retries: 3}", "`retry: "),
            ("{id: a, sleep: 3}", "`wait: "),
            ("{id: a, agent: w, catch: all}", "`on_error: "),
            ("{id: a, script: echo}", "no code"),
            ("{id: a, switch: x}", "`conditional: "),
        ],
    )
    def test_another_products_word_gets_ours(self, step: str, told: str) -> None:
        assert told in str(refused(steps(step)).hint)

    @pytest.mark.parametrize(
        ("name", "hint"),
        [("temprature", "'temperature'"), ("maxTokens", "'max_tokens'"), ("colour", "refuse or ignore")],
    )
    def test_a_parameter_that_models_do_not_take_warns(self, name: str, hint: str) -> None:
        for text in (
            f"kind: agent\nname: a\nparams: {{{name}: 3}}\n",
            steps(f"{{id: a, agent: {{params: {{{name}: 3}}}}}}"),
        ):
            warning = warned(text)
            assert warning.type == "unknown_parameter"
            assert hint in str(warning.hint)

    @pytest.mark.parametrize("name", ["temperature", "top_k", "reasoning_effort", "repeat_penalty", "logit_bias"])
    def test_known_parameters_do_not(self, name: str) -> None:
        sound(f"kind: agent\nname: a\nparams: {{{name}: 1}}\n")

    def test_a_document_without_kind(self) -> None:
        error = refused("name: w\npattern: sequential\nsteps: [{id: a, transform: 1}]\n")
        assert error.msg.startswith("there is no `kind`")
        assert error.hint == "write `kind: workflow` first, it seems"


class TestTimes:
    @pytest.mark.parametrize("until", ["2030-01-31T09:00:00", "2030-01-31", "tomorrow"])
    def test_a_time_without_its_offset_is_refused(self, until: str) -> None:
        error = refused(steps(f'{{id: a, wait: {{until: "{until}"}}}}'))
        assert error.type == "not_a_time"
        assert "+01:00" in str(error.hint)

    def test_with_it_it_is_a_time(self) -> None:
        sound(
            steps('{id: a, wait: {until: "2030-01-31T09:00:00+01:00"}}', "{id: b, wait: {until: 2030-01-31T09:00:00Z}}")
        )


class TestYaml:
    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("steps:\n  - {id: a, transform: ${{ 1 }}}\n", "put the expression in quotes"),
            ('steps:\n  - id: a\n    transform: ${{ {"a": 1} }}\n', "put the expression in quotes: '${{ … }}'"),
            ("when: ${{ a ? b : c }}\n", "put the expression in quotes"),
            ("x: [${{ a }}, ${{ b[0] }}]\n", "put the expression in quotes"),
            ("message: Write: a poem\n", "in quotes"),
            ("{message: Write: a poem}\n", "in quotes"),
            ("a:\n  b: 1\n c: 2\n", "same column"),
            ("steps:\n  - id: a\n   transform: 1\n", "same column"),
            ("a:\n\tb: 1\n", "indent with blanks"),
            ("\ta: 1\n", "indent with blanks"),
            ("a: [1, 2\nb: 3\n", "close what is open"),
            ('a: "x\nb: 1\n', "end the text with the quote"),
            ("a: 'it's'\n", "put the whole text in quotes"),
            ("a: 1\nb\nc: 2\n", "write `key: value`"),
            ("a: @x\n", "put the text in quotes"),
            ("a: *\n", "put the text in quotes"),
            ("a: - b\n", "begin it on the next line"),
            ('a: "\\q"\n', "use single quotes"),
            ("message: {{ name }}\n", "put a text that begins with { in quotes"),
        ],
    )
    def test_plain_words_and_what_to_write(self, text: str, told: str) -> None:
        error = refused(text)
        assert told in str(error.hint)
        assert not any(word in error.msg for word in ("expected", "mapping", "scalar", "token", "<"))

    def test_a_comment_ends_an_expression(self) -> None:
        error = refused(HEAD + 'steps:\n  - id: a\n    transform: ${{ "a" # b }}\n')
        assert "without `}}`" in error.msg
        assert "YAML ends a plain text at ` #`" in str(error.hint)

    def test_a_field_of_a_list(self) -> None:
        error = refused(
            HEAD + "input_schema: {type: object, properties: {l: {type: array, items: {type: integer}}}}\n"
            'steps:\n  - {id: a, transform: "${{ input.l.foo }}"}\n'
        )
        assert "a list has no field 'foo'" in error.msg
