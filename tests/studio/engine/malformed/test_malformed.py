"""Definitions that are wrong in one way each. Above each one: what is wrong, and `line:column type pointer` of the one
error that it must get, the comments counted.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from api.apply.checking import check_documents
from api.apply.parsing import SourceDocument
from studio.documents import load_documents
from studio.errors import FieldError, InvalidInput

FOLDER = Path(__file__).parent
_EXPECTED = re.compile(r"# (\d+):(\d+) (\w+)(?: (/\S*))?")
PYTHON_WORDS = re.compile(
    r"\b(dict|dictionary|str|NoneType|bool|instance of|BaseModel|Traceback)\b|literal\[|<\w+>|Extra inputs"
)


@dataclass(frozen=True)
class Malformed:
    what: str
    text: str
    line: int
    column: int
    type: str
    pointer: str


def read(file: Path) -> list[Malformed]:
    found: list[Malformed] = []
    for text in re.split(r"^---\n", file.read_text(), flags=re.MULTILINE):
        what, expected = text.splitlines()[:2]
        match = _EXPECTED.fullmatch(expected.rstrip())
        assert match is not None, f"{file.name}: {what}"
        line, column, kind, pointer = match.groups()
        found.append(Malformed(what.removeprefix("# "), text, int(line), int(column), kind, pointer or ""))
    return found


ALL = [case for file in sorted(FOLDER.glob("*.yaml")) for case in read(file)]


def errors_of(text: str) -> list[FieldError]:
    """As `POST /workflows/validate` and `apply` find them."""
    try:
        documents = load_documents(text)
    except InvalidInput as error:
        return error.errors
    checked = check_documents([SourceDocument(document.value, document) for document in documents])
    return [error for _, error in checked.ordered()]


def pointer(error: FieldError) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in error.loc)


@pytest.mark.parametrize("case", ALL, ids=lambda case: case.what)
def test_it_gets_one_error_at_its_place(case: Malformed) -> None:
    (error,) = errors_of(case.text)
    assert (error.line, error.column, error.type, pointer(error)) == (case.line, case.column, case.type, case.pointer)
    assert error.msg
    assert not PYTHON_WORDS.search(error.msg), error.msg


def test_there_are_many_and_most_get_a_hint() -> None:
    errors = [errors_of(case.text)[0] for case in ALL]
    told = [
        error for error in errors if error.hint or re.search(r"write|give|must be|did you mean|is missing", error.msg)
    ]
    assert len(ALL) >= 190
    assert len(told) > 0.7 * len(ALL)
