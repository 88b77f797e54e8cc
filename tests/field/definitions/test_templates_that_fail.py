"""What a template that fails in a run says: which one it is, and what it could have named."""

import pytest

from studio.contracts.base import Json
from studio.engine.messages import user_text
from studio.errors import InvalidInput


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"name": "Ada", "age": 3}, "Its variables are the fields of the step's input: age, name."),
        ({}, "the fields of the step's input: none."),
        ("text", "its one variable is `input`."),
        ([1], "its one variable is `input`."),
    ],
)
def test_an_undefined_variable(given: Json, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        user_text("Hello\n{{ nme }}", given)
    assert caught.value.detail.startswith("`message`: Template line 2: 'nme' is undefined.")
    assert told in caught.value.detail


def test_another_failure_says_which_template() -> None:
    with pytest.raises(InvalidInput, match=r"^`message`: Template line 1"):
        user_text("{{ 1 / 0 }}", {})
