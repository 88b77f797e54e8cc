import string

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from studio.contracts.base import Json
from studio.document_writer import dump_document, join_documents
from studio.documents import MAX_CHARACTERS, load_documents
from studio.errors import InvalidInput, PayloadTooLarge

TEXT = st.text() | st.text(string.ascii_letters + " :#-?|>\n\t'\"{}[]$&*!%@`,\\.~<=") | st.from_regex(r"[-+.0-9exo_]*")
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)


def load_one(text: str) -> Json:
    (document,) = load_documents(text)
    return document.value


class TestDump:
    @settings(max_examples=300, deadline=None)
    @given(VALUES)
    @example("")
    @example({"a": "x\n\n", "b": "\n", "c": " x\ny", "d": "x \ny", "e": "x\n  y\n"})
    @example({"<<": "<<", "": "~", "k" * 2000: "v\x85\u2028\ufeff\x00"})
    def test_reads_back_as_the_same_value(self, value: Json) -> None:
        assert orjson.dumps(load_one(dump_document(value))) == orjson.dumps(value)

    @settings(max_examples=50, deadline=None)
    @given(st.lists(VALUES, min_size=2, max_size=3))
    def test_many_documents(self, values: list[Json]) -> None:
        loaded = [
            document.value for document in load_documents(join_documents([dump_document(value) for value in values]))
        ]
        assert orjson.dumps(loaded) == orjson.dumps(values)

    def test_looks_as_a_person_would_write_it(self) -> None:
        value: Json = {
            "kind": "workflow",
            "name": "brief",
            "description": "First line.\nSecond: line.\n",
            "steps": [
                {"id": "plan", "agent": "planner", "input": {"topic": "${{ input.topic }}", "n": 3}},
                {"id": "on", "when": "${{ input.kind == 'a' }}", "transform": ["no", "1.5", "2024-01-01", "a: b"]},
            ],
            "output": '${{ {"a": steps.plan.output}["a"] }}',
            "input_schema": {},
        }
        assert (
            dump_document(value)
            == """\
kind: workflow
name: brief
description: |
  First line.
  Second: line.
steps:
  - id: plan
    agent: planner
    input:
      topic: ${{ input.topic }}
      n: 3
  - id: "on"
    when: ${{ input.kind == 'a' }}
    transform:
      - "no"
      - "1.5"
      - "2024-01-01"
      - "a: b"
output: '${{ {"a": steps.plan.output}["a"] }}'
input_schema: {}
"""
        )


class TestLoad:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("no", "no"),
            ("yes", "yes"),
            ("2024-01-01", "2024-01-01"),
            ("12:30:00", "12:30:00"),
            ("0777", 777),
            ("0o17", 15),
            ("0x1F", 31),
            ("1_000", "1_000"),
            ("1e3", 1000.0),
            (".5", 0.5),
            ("~", None),
            ("Null", None),
            ("TRUE", True),
            ("'true'", "true"),
            ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
            ("a: ${{ input.topic }}", {"a": "${{ input.topic }}"}),
            ("\ufeffa: 1", {"a": 1}),
            ("? a\n: b", {"a": "b"}),
        ],
    )
    def test_core_schema(self, text: str, value: Json) -> None:
        assert load_one(text) == value

    def test_documents_without_content_are_left_out(self) -> None:
        assert [document.value for document in load_documents("# a\n---\n---\na: 1\n---\n# b\n---\n'x'\n---\n")] == [
            {"a": 1},
            "x",
        ]

    def test_nothing_at_all(self) -> None:
        assert load_documents("") == []

    @pytest.mark.parametrize(
        ("text", "line", "column", "message"),
        [
            ("a: 1\nb: 2\na: 3", 3, 1, "twice"),
            ("a: !python/object:os.system x", 1, 4, "tags"),
            ("a: !!str 1", 1, 4, "tags"),
            ("base: &b {x: 1}\nc:\n  <<: *b", 3, 3, "merge keys"),
            ("a: .nan", 1, 4, "no JSON form"),
            ("a: -.inf", 1, 4, "no JSON form"),
            ("a: 1e999", 1, 4, "too large"),
            ("a: 99999999999999999999", 1, 4, "64 bits"),
            ("200: ok", 1, 1, "must be text"),
            ("? [a]\n: b", 1, 3, "must be text"),
            ("a: {{ x }}", 1, 5, "must be text"),
            ("a: *nowhere", 1, 4, "anchor"),
            ("a: &a [*a]", 1, 8, "anchor"),
            ("a: [1, 2", 1, 9, "do not fit together"),
            ("a: b: c", 1, 5, "a second `: ` on the line"),
            ("a:\n\t- 1", 2, 1, "a tabulator indents"),
            ("a: 'open", 1, 9, "a quote does not close"),
            ("a: \x01", 1, 4, "character"),
            ('a: "\\ud800"', 1, 4, "surrogate"),
            ("%YAML 1.1\n---\na: no", 2, 1, "directives"),
            ("%TAG ! tag:x,2000:\n---\na: no", 2, 1, "directives"),
        ],
    )
    def test_what_is_refused_has_its_place(self, text: str, line: int, column: int, message: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            load_documents(text)
        (error,) = caught.value.errors
        assert (error.line, error.column) == (line, column), error
        assert message in error.msg

    def test_aliases_cannot_explode(self) -> None:
        levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 12))
        with pytest.raises(InvalidInput, match="aliases expand"):
            load_documents("l0: &l0 [lol, lol]\n" + levels)

    def test_depth_is_bounded(self) -> None:
        with pytest.raises(InvalidInput, match="nested more than"):
            load_documents("[" * 5000)

    def test_length_is_bounded(self) -> None:
        with pytest.raises(PayloadTooLarge):
            load_documents("a" * (MAX_CHARACTERS + 1))

    @settings(max_examples=300, deadline=None)
    @given(TEXT)
    @example('"\\UFFFFFFFF"')
    @example("%YAML 1.x\n---\n")
    @example("!<")
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        try:
            documents = load_documents(text)
        except InvalidInput as error:
            places = [(found.line, found.column) for found in error.errors]
        else:
            orjson.dumps([document.value for document in documents])
            places = [document.position([]) for document in documents]
        assert all(line and column for line, column in places)


class TestPosition:
    TEXT = "name: a\nsteps:\n  - id: one\n    input: {x: 1}\n  - id: two\n"

    @pytest.mark.parametrize(
        ("loc", "position"),
        [
            ([], (1, 1)),
            (["steps"], (2, 1)),
            (["steps", 0], (3, 5)),
            (["steps", 0, "input", "x"], (4, 13)),
            (["steps", 1, "id"], (5, 5)),
            (["steps", 1, "agent"], (5, 5)),
            (["steps", 9], (2, 1)),
            (["name", "deeper"], (1, 1)),
        ],
    )
    def test_of_loc(self, loc: list[str | int], position: tuple[int, int]) -> None:
        (document,) = load_documents(self.TEXT)
        assert document.position(loc) == position

    def test_in_a_later_document(self) -> None:
        _, second = load_documents("a: 1\n---\nb: 2\n")
        assert second.position(["b"]) == (3, 1)


class TestText:
    @pytest.mark.parametrize(
        "text",
        [
            "a: 1\n",
            "# head\na: 1 # tail\n# end\n",
            "# head\n---\na: 1\n---\n# b\nb: |\n  x\n\n  ---\nc: 2\n...\n",
            "--- {a: 1}\n--- # note\nb: 2\n---\n\n\nc: 3\n",
            "\ufeffa: 1\r\n---\r\nb: 2\r\n",
            "%YAML 1.2\n---\na: &x 1\nb: *x\n",
            "---\n---\na: 1\n",
        ],
    )
    def test_each_document_alone_is_the_same(self, text: str) -> None:
        documents = load_documents(text)
        assert documents
        for document in documents:
            assert [again.value for again in load_documents(document.text)] == [document.value]
            assert load_documents(document.text)[0].text == document.text
