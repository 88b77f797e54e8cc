"""Definition files: found, read, and their findings placed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from studio.contracts.base import Contract, Json
from studio.contracts.reports import Finding
from studio.documents import Document, load_documents
from studio.errors import FieldError, InvalidInput, StudioError

SUFFIXES = (".yaml", ".yml")
TEST_SUFFIXES = (".test.yaml", ".test.yml")


class Place(Contract):
    """Something wrong in a file. `line` and `column` count from 1; `path` is a JSON Pointer into the document."""

    file: str
    line: int | None = None
    column: int | None = None
    path: str = ""
    message: str
    hint: str | None = None

    @property
    def where(self) -> str:
        """`file:line:column`."""
        numbers = [number for number in (self.line, self.column) if number is not None]
        return ":".join(map(str, [self.file, *numbers]))


class FilesRejected(Exception):
    """Files that hold errors."""

    def __init__(self, places: Sequence[Place]) -> None:
        super().__init__(f"{len(places)} errors")
        self.places = list(places)


@dataclass(frozen=True)
class SourceFile:
    name: str
    documents: Sequence[Document]


@dataclass(frozen=True)
class Sources:
    """Documents in the order in which they are sent."""

    files: Sequence[SourceFile]

    @property
    def values(self) -> list[Json]:
        return [document.value for _, document in self._all()]

    @property
    def names(self) -> list[str]:
        """The file of each document."""
        return [name for name, _ in self._all()]

    @property
    def documents(self) -> list[Document]:
        return [document for _, document in self._all()]

    def place(self, index: int, error: FieldError) -> Place:
        """Place an error of the document at `index`; its `loc` is relative to the document."""
        return self._place(index, error.loc, error.msg, error.hint)

    def _all(self) -> list[tuple[str, Document]]:
        return [(file.name, document) for file in self.files for document in file.documents]

    def place_error(self, error: FieldError) -> Place | None:
        """Place an error whose `loc` begins with `body` and the document's number; None when it is of no document."""
        match error.loc:
            case ["body", int(index), *rest] if index < len(self.values):
                return self._place(index, rest, error.msg, error.hint)
            case _:
                return None

    def place_finding(self, finding: Finding) -> Place:
        """Place what the engine found when it validated the documents."""
        names = [part.replace("~1", "/").replace("~0", "~") for part in finding.path.split("/")[1:]]
        if finding.document >= len(self.values):
            return Place(file=self.files[0].name, path=finding.path, message=finding.message, hint=finding.hint)
        return self._place(finding.document, self._parts(finding.document, names), finding.message, finding.hint)

    def _parts(self, index: int, names: Sequence[str]) -> list[str | int]:
        """A pointer's names, numbers where they point into a list."""
        found: list[str | int] = []
        value: Any = self.values[index]
        for name in names:
            if isinstance(value, list) and name.isdigit():
                items = cast("list[Json]", value)
                found.append(int(name))
                value = items[int(name)] if int(name) < len(items) else None
            else:
                found.append(name)
                value = cast("dict[str, Json]", value).get(name) if isinstance(value, dict) else None
        return found

    def _place(self, index: int, loc: Sequence[str | int], message: str, hint: str | None) -> Place:
        name, document = self._all()[index]
        line, column = document.position(loc)
        path = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in loc)
        return Place(file=name, line=line, column=column, path=path, message=message, hint=hint)


def read_sources(paths: Iterable[Path]) -> Sources:
    """Read files, and folders with everything below them, each file once.

    Raises `FilesRejected` when a file cannot be read or is not YAML, with the errors of all files, or when no file
    holds a document.
    """
    files: list[SourceFile] = []
    places: list[Place] = []
    given = list(paths)
    for path in _found(given):
        try:
            files.append(SourceFile(str(path), load_documents(path.read_text(encoding="utf-8-sig"))))
        except InvalidInput as error:
            places += [
                Place(file=str(path), line=fault.line, column=fault.column, message=fault.msg, hint=fault.hint)
                for fault in error.errors
            ]
        except StudioError as error:
            places.append(Place(file=str(path), message=error.detail))
        except UnicodeDecodeError as error:
            places.append(Place(file=str(path), message=f"not text in UTF-8 (byte {error.start})"))
        except OSError as error:
            places.append(Place(file=str(path), message=(error.strerror or "cannot be read").lower()))
    if not places and not any(file.documents for file in files):
        places = [Place(file=str(path), message="holds no document (*.yaml, *.yml)") for path in given]
    if places:
        raise FilesRejected(places)
    return Sources(files)


def _found(paths: Iterable[Path]) -> Iterable[Path]:
    """Hidden files and folders, and test files, are left out, unless they are named."""
    found: dict[Path, Path] = {}
    for path in paths:
        inside = sorted(file for file in below(path) if not is_test_file(file)) if path.is_dir() else [path]
        for file in inside:
            found.setdefault(file.resolve(), file)
    return found.values()


def is_test_file(path: Path) -> bool:
    """Whether it holds cases for `studio test` rather than definitions."""
    return path.name.endswith(TEST_SUFFIXES)


def below(folder: Path) -> Iterable[Path]:
    """Its YAML files and those of its folders, none of them hidden."""
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if path.suffix in SUFFIXES and path.is_file() and not any(part.startswith(".") for part in parts):
            yield path
