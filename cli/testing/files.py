"""Which test files there are for the paths that were given, and the definitions beside them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from cli.files import SUFFIXES, FilesRejected, Place, below, is_test_file, read_sources
from cli.testing.definitions import DefinitionFile, Library, read_definitions
from cli.testing.running import Suite


@dataclass(frozen=True)
class Found:
    """What the paths hold."""

    suites: list[Suite]
    library: Library
    errors: list[Place]
    """Of files that were named, of test files and of the definitions that they test."""
    skipped: list[Place]
    """Of other files in a folder: broken ones, and YAML that is somebody else's."""


def read_suites(paths: Sequence[Path]) -> Found:
    """The test files of all paths, and every definition that was named or is beside a test file.

    One file that holds errors does not keep the others from being tested. Raises `typer.BadParameter` when there is no
    test file.
    """
    named = _named(paths)
    tests = [path for path in named if is_test_file(path)]
    beside = {test: definition_beside(test) for test in tests}
    tested = {path.resolve() for path in beside.values() if path}
    wanted = tested | {path.resolve() for path in paths if path.is_file()}
    if not tests:
        raise typer.BadParameter(f"no NAME.test.yaml for {', '.join(map(str, paths))}.", param_hint="PATH")
    errors: list[Place] = []
    skipped: list[Place] = []
    files: dict[Path, DefinitionFile] = {}
    definitions = [*(path for path in named if not is_test_file(path)), *(one for one in beside.values() if one)]
    for resolved, path in {path.resolve(): path for path in definitions}.items():
        try:
            files[resolved] = read_definitions(read_sources([path]))[0]
        except FilesRejected as rejected:
            (errors if resolved in wanted else skipped).extend(rejected.places)
    suites: list[Suite] = []
    for test, definition in beside.items():
        if definition is None:
            errors.append(Place(file=str(test), message=f"there is no {_stem(test)}.yaml beside it"))
            continue
        try:
            (source,) = read_sources([test]).files
        except FilesRejected as rejected:
            errors += rejected.places
        else:
            if definition.resolve() in files:
                suites.append(Suite(source, files[definition.resolve()]))
    return Found(suites, Library(list(files.values())), errors, skipped)


def _named(paths: Iterable[Path]) -> list[Path]:
    """Each file once; a definition brings its test file along."""
    found: dict[Path, Path] = {}
    for path in paths:
        inside = sorted(below(path)) if path.is_dir() else [path]
        for file in inside:
            found.setdefault(file.resolve(), file)
            beside = test_file_of(file)
            if beside.exists():
                found.setdefault(beside.resolve(), beside)
    return list(found.values())


def _stem(path: Path) -> str:
    return path.name.removesuffix(path.suffix).removesuffix(".test")


def test_file_of(path: Path) -> Path:
    """`NAME.test.yaml` for `NAME.yaml`; a test file itself."""
    if is_test_file(path):
        return path
    found = (path.with_name(f"{_stem(path)}.test{suffix}") for suffix in SUFFIXES)
    return next((file for file in found if file.exists()), path.with_name(f"{_stem(path)}.test.yaml"))


def definition_beside(path: Path) -> Path | None:
    """The definitions' file of a test file."""
    found = (path.with_name(f"{_stem(path)}{suffix}") for suffix in SUFFIXES)
    return next((file for file in found if file.is_file()), None)
