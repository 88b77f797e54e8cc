import contextlib
import time
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from studio.errors import InvalidInput
from studio.templates import compile_template, render_budget, render_text, required_variables_of, variables_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
PIECES = st.sampled_from(
    [
        *(
            "{{ ",
            " }}",
            "{% for i in ",
            " %}",
            "{% endfor %}",
            "{% if ",
            "{% endif %}",
            "{% set x = ",
            "{% macro f() %}",
        ),
        *("{% endmacro %}", "range(99999)", "a", "b.c", "x", "f()", "loop.index", "'y' * 10**8", "10**9", "|tojson"),
        *(
            "|list",
            "|sort",
            "|join(',')",
            "|map('upper')",
            "|batch(3)",
            "|length",
            "['__class__']",
            ".__init__",
            "[::2]",
        ),
        *(
            "~",
            "+",
            "==",
            " in ",
            "(",
            ")",
            "[",
            "]",
            "{",
            "}",
            ",",
            "is defined",
            "text ",
            "\n",
            "namespace(x=a)",
            "%",
        ),
    ]
)

TOO_MUCH = [
    "{% for i in range(10**9) %}x{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
    "{% for i in range(99999) %}{{ loop.length }}{{ 'x' * 100 }}{% endfor %}",
    "{{ 'x' * 10**9 }}",
    "{{ [1] * 10**9 }}",
    "{{ 9 ** 99999 }}",
    "{{ 'x'|center(10**9) }}",
    "{{ 'x'.center(10**9) }}",
    "{{ 'x'.ljust(10**9) }}",
    "{{ 'x'.zfill(10**9) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%1000000000d'|format(1) }}",
    "{{ '%.1000000000f'|format(1) }}",
    "{{ '%*d' % (10**9, 1) }}",
    "{{ ('x\n' * 100000)|indent(100000) }}",
    "{{ ('x' * 1000000).replace('x', 'y' * 1000) }}",
    "{{ ('x' * 1000000)|replace('x', 'y' * 1000) }}",
    "{{ ('y' * 1000000).join('x' * 100000) }}",
    "{{ [1]|batch(10**9, 0)|list }}",
    "{{ [1]|slice(10**9)|list }}",
    "{{ 1.5|round(10**9, 'ceil') }}",
    "{{ ('f' * 100000)|int(0, 16) }}",
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% set s = namespace(l=[1]) %}{% for i in range(64) %}{% set s.l = [s.l, s.l] %}{% endfor %}{{ s.l }}",
    "{% set s = namespace(l=[1]) %}{% for i in range(64) %}{% set s.l = {1: s.l, 2: s.l} %}{% endfor %}{{ s.l }}",
    "{% set s = namespace(l=[1]) %}{% for i in range(64) %}{% set s.l = (s.l, s.l) %}{% endfor %}{{ s.l|tojson }}",
    "{% set s = namespace(l=[1]) %}{% for i in range(64) %}{% set s.l = (s.l + s.l)|batch(2)|list %}{% endfor %}",
    (
        "{% set s = namespace(l=[1]) %}{% macro m() %}{% set s.l = varargs %}{% endmacro %}"
        "{% for i in range(64) %}{{ m(s.l, s.l) }}{% endfor %}"
    ),
    "{% set s = namespace(l='x') %}{% for i in range(64) %}{% set s.l = s.l ~ s.l %}{% endfor %}{{ s.l }}",
    "{% set s = namespace(l='x') %}{% for i in range(64) %}{% set s.l = s.l + s.l %}{% endfor %}{{ s.l }}",
    "{% set s = namespace(n=3) %}{% for i in range(64) %}{% set s.n = s.n * s.n %}{% endfor %}{{ s.n }}",
    "{% set s = namespace(l=[]) %}{% for i in range(9999) %}{% set s.l = s.l + ['x' * 99999 ~ i] %}{% endfor %}",
    "{% set x %}{% for i in range(9999) %}{{ 'x' * 99999 }}{% endfor %}{% endset %}{{ x|length }}",
    "{{ big|sort|length }}",
    "{{ big|map('title')|list|length }}",
    "{{ big }}",
    "{{ text|wordwrap|length }}",
    "{{ text|title|length }}",
    "{% for i in big %}{% for j in big %}{% endfor %}{% endfor %}",
    "{{ big == other }}" * 500,
]

OTHER_WORDS = ["".join(pair) for pair in [("wwwww", "wwwww")] * 600_000]
"""Equal words that are other objects, so that comparing lists of them takes its time."""

ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''['__class__'] }}",
    "{{ ''['__cl' ~ 'ass__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ [name]|map(attribute='__class__')|list }}",
    "{{ [name]|map(attribute='__class__.__mro__')|list }}",
    "{{ [name]|groupby('__class__') }}",
    "{{ [name, name]|sort(attribute='__class__') }}",
    "{{ [name]|selectattr('__class__')|list }}",
    "{{ '{0.__class__}'.format(name) }}",
    "{{ '{0.__class__}'.format_map({'0': name}) }}",
    "{{ '%(__class__)s' % name }}",
    "{{ self.__init__ }}",
    "{{ self }}",
    "{{ range.__self__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ joiner.__init__ }}",
    "{{ namespace(a=1)._Namespace__attrs }}",
    "{{ dict.fromkeys('ab') }}",
    "{{ (1).to_bytes(10, 'big') }}",
    "{% macro f() %}{% endmacro %}{{ f._func }}",
    "{% for i in [1] %}{{ loop._iterable }}{% endfor %}",
    "{{ items.append(1) }}",
    "{{ record.update({'a': 1}) }}",
    "{% include 'other' %}",
    "{% import 'other' as o %}",
    "{% extends 'other' %}",
    "{{ lipsum(1) }}",
    "{{ config }}",
    "{{ ([1]|map('string')) }}",
]


class TestRenderText:
    def test_fills_variables(self):
        assert render_text("Hello {{ user.name }}, {{ n + 1 }}", {"user": {"name": "Bo"}, "n": 1}) == "Hello Bo, 2"

    @pytest.mark.parametrize(
        ("template", "expected"),
        [
            (
                "{% for x in [1, 2] %}{{ loop.index }}/{{ loop.length }}{{ ',' if not loop.last }}{% endfor %}",
                "1/2,2/2",
            ),
            ("{% for g in rows|groupby('a') %}{{ g.grouper }}{{ g.list|length }} {% endfor %}", "11 22 "),
            ("{{ rows|map(attribute='a')|sum }} {{ rows|selectattr('a', 'eq', 2)|list|length }}", "5 2"),
            ("{{ {'items': 1}.items }} {{ {'a': 1}.items() }}", "1 [('a', 1)]"),
            ("{{ {'b': '<é>', 'a': [1, none]}|tojson }}", '{"b":"<é>","a":[1,null]}'),
            ("{{ 'a b c d'|wordwrap(3) }}|{{ 'a\nb'|indent }}|{{ '<b>'|e }}", "a b\nc d|a\n    b|&lt;b&gt;"),
            ("{{ ', '.join(['a', 'b']|map('upper')) }} {{ 'abc'[::-1] }} {{ '%05.1f' % 3.14159 }}", "A, B cba 003.1"),
            ("{% macro hi(n) %}Hi {{ n }}{% endmacro %}{{ hi('A') }}", "Hi A"),
            ("{% set s = namespace(n=0) %}{% for i in range(4) %}{% set s.n = s.n + i %}{% endfor %}{{ s.n }}", "6"),
            ("{{ missing | default('none') }}{% if other is not defined %}!{% endif %}\n", "none!\n"),
            ("{% filter upper %}a{{ 'b' }}{% endfilter %}{% set x %}c{% endset %}{{ x }}", "ABc"),
        ],
    )
    def test_what_prompts_use(self, template: str, expected: str):
        assert render_text(template, {"rows": [{"a": 1}, {"a": 2}, {"a": 2}]}) == expected

    @pytest.mark.parametrize(
        ("template", "line", "name"),
        [("a\n{{ b }}", 2, "b"), ("a\n\n{{ user.name }}", 3, "name"), ("{{ user['name'] }}", 1, "name")],
    )
    def test_names_the_variable_and_the_line(self, template: str, line: int, name: str):
        with pytest.raises(InvalidInput) as caught:
            render_text(template, {"user": {}})
        assert f"line {line}" in caught.value.detail
        assert repr(name) in caught.value.detail

    @pytest.mark.parametrize("template", ["a\n{{ b", "a\n{% if %}", "a\n{{ b|nope }}", "a\n{% for x in y recursive %}"])
    def test_names_the_line_of_a_template_that_is_none(self, template: str):
        with pytest.raises(InvalidInput) as caught:
            render_text(template, {})
        assert caught.value.errors[0].line == 2

    @pytest.mark.parametrize(
        "template", ["{{ 1 / 0 }}", "{{ 'a' + 1 }}", "{{ [1].index(2) }}", "{{ 1.foo() }}", "{{ none() }}"]
    )
    def test_a_failing_expression_is_invalid_input(self, template: str):
        with pytest.raises(InvalidInput, match="line 1"):
            render_text(template, {})

    @pytest.mark.parametrize(
        "template", ["(" * 5000 + "{{ 1 }}", "{{ " + "(" * 800 + "1" + ")" * 800 + " }}", "{{ " + "9" * 5000 + " }}"]
    )
    def test_absurd_sources_are_answered(self, template: str):
        with contextlib.suppress(InvalidInput):
            render_text(template, {})

    @pytest.mark.parametrize(
        "template", ["{{ a }}" * 10_000, "x" * 300_000, "{% for a in b %}" * 40 + "{% endfor %}" * 40]
    )
    def test_refuses_to_compile_what_is_too_long(self, template: str):
        with pytest.raises(InvalidInput):
            compile_template(template)


class TestLimits:
    @pytest.mark.parametrize("template", TOO_MUCH)
    def test_stops(self, template: str):
        variables = {"big": ["w" * 10] * 600_000, "other": OTHER_WORDS, "text": "word " * 1_000_000}
        compile_template(template)
        started = time.thread_time()
        with pytest.raises(InvalidInput):
            render_text(template, variables)
        assert time.thread_time() - started < 0.6

    def test_output_is_counted_in_bytes(self):
        assert len(render_text("{{ 'x' * 1048576 }}", {})) == 1_048_576
        with pytest.raises(InvalidInput, match="1048576 bytes"):
            render_text("{{ 'é' * 600000 }}", {})

    def test_messages_of_one_prompt_share_a_budget(self):
        budget = render_budget()
        render_text("{{ 'x' * 600000 }}", {}, budget)
        with pytest.raises(InvalidInput):
            render_text("{{ 'x' * 600000 }}", {}, budget)


class TestEscapes:
    @pytest.mark.parametrize("template", ESCAPES)
    def test_find_nothing(self, template: str):
        variables = {"name": "x", "items": [1], "record": {"b": 1}}
        with pytest.raises(InvalidInput):
            render_text(template, variables)
        assert variables == {"name": "x", "items": [1], "record": {"b": 1}}


class TestVariablesOf:
    def test_finds_what_is_read_and_not_set(self):
        own = "{{ range(2) }}{% macro m(x) %}{{ x }}{% endmacro %}"
        template = "{% set a = b %}{{ a }}{% for c in d %}{{ c.e }}{% endfor %}"
        assert variables_of(template + own) == {"b", "d"}

    def test_a_default_or_a_test_makes_a_variable_optional(self):
        template = "{{ a }}{{ b | default('') }}{% if c is defined %}{{ c }}{% endif %}{{ d.e | default('') }}"
        assert required_variables_of(template) == {"a", "d"}


class TestAnyTemplate:
    @given(st.lists(PIECES, max_size=14).map("".join), st.dictionaries(st.sampled_from("ab"), JSON, max_size=2))
    @settings(max_examples=250, deadline=1500)
    @example("{{ a|tojson }}", {"a": {"\ud800": 1}})
    def test_ends_in_time_with_text_or_invalid_input(self, template: str, variables: dict[str, Any]):
        try:
            text = render_text(template, variables)
        except InvalidInput:
            return
        assert len(text.encode(errors="surrogatepass")) <= 1_048_576
        assert "<built-in" not in text
        assert " object at 0x" not in text

    @given(JSON)
    @settings(deadline=None)
    def test_tojson_is_json(self, value: Any):
        try:
            text = render_text("{{ a|tojson }}", {"a": value})
        except InvalidInput:
            return
        assert orjson.loads(text) == orjson.loads(orjson.dumps(value))

    @given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="{}"), max_size=60))
    def test_text_without_braces_stays_as_it_is(self, text: str):
        assert render_text(text.replace("\r", ""), {}) == text.replace("\r", "")

    @given(st.text(max_size=60))
    def test_a_value_is_never_a_template(self, value: str):
        assert render_text("{{ a }}", {"a": value}) == value
