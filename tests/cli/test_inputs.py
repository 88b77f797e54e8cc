import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from cli.inputs import parse_input, parse_metadata

KEYS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,20}", fullmatch=True)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


class TestParseInput:
    @given(VALUES)
    def test_json_is_taken_as_it_is(self, value: Any) -> None:
        assert parse_input([json.dumps(value)]) == value

    @given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=5))
    def test_fields_with_json_values(self, fields: dict[str, Any]) -> None:
        assert parse_input([f"{key}={json.dumps(value)}" for key, value in fields.items()]) == fields

    @given(KEYS, st.text().filter(lambda text: not text.startswith("@") and not _is_json(text)))
    def test_a_value_that_is_not_json_is_text(self, key: str, text: str) -> None:
        assert parse_input([f"{key}={text}"]) == {key: text}

    @given(st.lists(st.text(), min_size=1, max_size=4))
    def test_anything_is_an_input_or_wrong_usage(self, values: list[str]) -> None:
        with suppress(typer.BadParameter):
            assert parse_input(values) is not None or values == ["null"]

    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            ([], None),
            (["topic=heat pumps", "count=3"], {"topic": "heat pumps", "count": 3}),
            (["zip=01234", "version=1.2.3", "empty="], {"zip": "01234", "version": "1.2.3", "empty": ""}),
            (['number="3"', "formula=a=b"], {"number": "3", "formula": "a=b"}),
            (['{"a": 1, "b": 2}', "b=3"], {"a": 1, "b": 3}),
            (['"a=b"'], "a=b"),
        ],
    )
    def test_by_example(self, values: list[str], expected: Any) -> None:
        assert parse_input(values) == expected

    def test_a_json_file(self, tmp_path: Path) -> None:
        path = tmp_path / "input.json"
        path.write_text('\ufeff{"a": [1, 2]}', encoding="utf-8")
        assert parse_input([f"@{path}", "b=3"]) == {"a": [1, 2], "b": 3}

    def test_a_yaml_file(self, tmp_path: Path) -> None:
        path = tmp_path / "input.yaml"
        path.write_text("topic: no\ncount: 3\n", encoding="utf-8")
        assert parse_input([f"@{path}"]) == {"topic": "no", "count": 3}

    def test_a_field_from_a_file_is_its_text(self, tmp_path: Path) -> None:
        path = tmp_path / "notes.md"
        path.write_text("# Notes\n1\n", encoding="utf-8")
        assert parse_input([f"notes=@{path}"]) == {"notes": "# Notes\n1\n"}

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (["plain text"], "is not JSON"),
            (['{"a": 1'], "is not JSON"),
            (["a=1", "a=2"], "'a' is given twice"),
            (["[1]", "a=1"], "must be an object"),
            (["{}", "{}"], "can be given once"),
            (["@nowhere.json"], "cannot read 'nowhere.json'"),
            (["handle=@ada"], "'\"@…\"'"),
            (["NaN"], "is not JSON"),
        ],
    )
    def test_wrong_usage(self, values: list[str], message: str) -> None:
        with pytest.raises(typer.BadParameter) as error:
            parse_input(values)
        assert message in error.value.message

    def test_a_broken_file_is_named_with_the_place(self, tmp_path: Path) -> None:
        path = tmp_path / "input.json"
        path.write_text('{"a": 1,\n "b" 2}', encoding="utf-8")
        with pytest.raises(typer.BadParameter) as error:
            parse_input([f"@{path}"])
        assert f"{path}:2:" in error.value.message


class TestParseMetadata:
    def test_values_stay_text(self) -> None:
        assert parse_metadata(["ticket=7", "note=a=b"]) == {"ticket": "7", "note": "a=b"}

    @pytest.mark.parametrize("value", ["ticket", "=7"])
    def test_not_a_pair(self, value: str) -> None:
        with pytest.raises(typer.BadParameter):
            parse_metadata([value])
