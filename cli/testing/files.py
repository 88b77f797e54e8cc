"""Which test files there are for the paths that were given, and the definitions beside them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import typer

from cli.files import SUFFIXES, FilesRejected, Place, below, is_test_file, read_sources
from cli.testing.definitions import Library, read_definitions
from cli.testing.running import Suite


def read_suites(paths: Sequence[Path]) -> tuple[list[Suite], Library]:
    """The test files of all paths, and every definition that was named or is beside a test file.

    Raises `FilesRejected` when a file holds errors or a test file has no definition beside it, `typer.BadParameter`
    when there is no test file.
    """
    tests: dict[Path, Path] = {}
    definitions: list[Path] = []
    lonely: list[Place] = []
    for path in _named(paths):
        if not is_test_file(path):
            definitions.append(path)
            continue
        beside = definition_beside(path)
        if beside is None:
            lonely.append(Place(file=str(path), message=f"there is no {_stem(path)}.yaml beside it"))
        else:
            tests[path] = beside
            definitions.append(beside)
    if lonely:
        raise FilesRejected(lonely)
    if not tests:
        raise typer.BadParameter(f"no NAME.test.yaml for {', '.join(map(str, paths))}.", param_hint="PATH")
    files = read_definitions(read_sources(definitions))
    by_path = {Path(file.source.name).resolve(): file for file in files}
    sources = {Path(source.name).resolve(): source for source in read_sources(tests).files}
    suites = [Suite(sources[test.resolve()], by_path[beside.resolve()]) for test, beside in tests.items()]
    return suites, Library(files)


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
