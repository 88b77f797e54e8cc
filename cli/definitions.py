"""What `studio apply`, `export`, `validate` and `graph` do."""

from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import typer
from pydantic import ValidationError
from rich.text import Text

from cli.files import FilesRejected, Place, Sources, read_sources
from cli.mermaid import mermaid
from cli.output import count_text, err, out, plain, print_json, safe
from cli.remote import FAILED, api_answers, with_api
from studio.clients.api import ApiClient
from studio.contracts.base import JsonObject
from studio.contracts.definitions import AnyWorkflow, parse_workflow
from studio.contracts.reports import ApplyReport, Graph
from studio.document_writer import join_documents
from studio.documents import MAX_CHARACTERS, load_documents
from studio.engine.checks import check_workflow
from studio.engine.drawing import workflow_graph
from studio.errors import InvalidInput
from studio.web.field_errors import field_errors

_STYLES = {"created": "green", "updated": "yellow", "unchanged": "dim"}


def apply(paths: Sequence[Path], *, dry_run: bool, as_json: bool) -> None:
    with rejections_reported(as_json=as_json):
        sources = read_sources(paths)
        if dry_run and not api_answers():
            _check_dry_run(sources, as_json=as_json)
            return
        report = with_api(lambda api: apply_sources(api, sources, dry_run=dry_run))
    if as_json:
        print_json(_with_places(report, sources))
    else:
        print_report(report, sources)


def export(kinds: Sequence[str], *, name: str | None, project: str | None, as_json: bool) -> None:
    text = with_api(lambda api: api.export(kinds=kinds, name=name, project_id=project))
    if as_json:
        print_json([document.value for document in load_documents(text)])
    else:
        typer.echo(text, nl=False)


def validate(paths: Sequence[Path], *, online: bool, as_json: bool) -> None:
    with rejections_reported(as_json=as_json):
        sources = read_sources(paths)
        if online:
            answer = with_api(lambda api: api.validate(sources.values))
            errors = [sources.place_finding(finding) for finding in answer.errors]
            warnings, graph = [sources.place_finding(finding) for finding in answer.warnings], answer.graph
        else:
            from cli.offline import check_offline

            report = check_offline(sources)
            errors, warnings, graph = report.errors, report.warnings, report.graph
        if errors:
            raise FilesRejected(errors)
    if as_json:
        places = [plain(place) for place in warnings]
        print_json({"valid": True, "errors": [], "warnings": places, "graph": plain(graph)})
    else:
        _print_warnings(warnings)
        _print_valid(sources)


def _check_dry_run(sources: Sources, *, as_json: bool) -> None:
    """Without a stack: whether `apply` would take the documents, but not what would be new. Raises `FilesRejected`."""
    from cli.offline import check_offline

    report = check_offline(sources)
    if report.errors:
        raise FilesRejected(report.errors)
    if as_json:
        places = [plain(place) for place in report.warnings]
        print_json({"dry_run": True, "offline": True, "valid": True, "warnings": places})
        return
    _print_warnings(report.warnings)
    _print_valid(sources)
    err().print(Text("No stack answers, so what would be created or updated is not known.", "dim"))


def _print_valid(sources: Sources) -> None:
    documents, files = count_text(len(sources.values), "document"), count_text(len(sources.files), "file")
    out().print(Text.assemble(("valid", "green"), f": {documents} in {files}"))


def graph(path: Path, *, name: str | None, as_json: bool) -> None:
    with rejections_reported(as_json=as_json):
        sources = read_sources([path])
        workflow = _read_workflow(sources, _last_workflow(sources, path, name))
    drawn = Graph.model_validate(workflow_graph(workflow))
    if as_json:
        print_json(drawn)
    else:
        typer.echo(mermaid(drawn), nl=False)


def _last_workflow(sources: Sources, path: Path, name: str | None) -> int:
    """The place among the documents of the workflow called `name`, else of the last one, which `studio run` runs."""
    documents = [cast("JsonObject", value) if isinstance(value, dict) else {} for value in sources.values]
    workflows = [index for index, found in enumerate(documents) if found.get("kind") == "workflow"]
    chosen = [index for index in workflows if name in {None, documents[index].get("name")}]
    if not chosen:
        raise typer.BadParameter(f"{path} holds no workflow{f' {name!r}' if name else ''}.", param_hint="PATH")
    return chosen[-1]


def _read_workflow(sources: Sources, index: int) -> AnyWorkflow:
    """Raises `FilesRejected` for what no stack is needed to find; whether agents are stored is not looked at."""
    try:
        workflow = parse_workflow(sources.values[index])
        errors = check_workflow(workflow)
    except ValidationError as error:
        workflow, errors = None, field_errors(error, shape=AnyWorkflow)
    places = [sources.place_error(one.model_copy(update={"loc": ["body", index, *one.loc]})) for one in errors]
    if workflow is None or errors:
        raise FilesRejected([place for place in places if place is not None])
    return workflow


async def apply_sources(api: ApiClient, sources: Sources, *, dry_run: bool = False) -> ApplyReport:
    """Apply all documents in one request. Raises `FilesRejected` with the place of everything that is wrong."""
    try:
        text = join_documents([document.text for document in sources.documents])
        return await api.apply(text if len(text) <= MAX_CHARACTERS else sources.values, dry_run=dry_run)
    except InvalidInput as error:
        places = [place for fault in error.errors if (place := sources.place_error(fault)) is not None]
        if not places:
            raise
        raise FilesRejected(places) from None


def print_report(report: ApplyReport, sources: Sources) -> None:
    _print_warnings([sources.place_finding(finding) for result in report.results for finding in result.warnings])
    console = out()
    width = max(len(f"{result.kind} {result.name}") for result in report.results)
    for result, file in zip(report.results, sources.names, strict=True):
        what = f"{result.kind} {result.name}"
        action = (f"{result.action:<9}", _STYLES[result.action])
        console.print(Text.assemble(action, f"  {what:<{width}}  ", (file, "dim")))
    counts = Counter(result.action for result in report.results)
    summary = ", ".join(f"{counts[action]} {action}" for action in _STYLES if counts[action])
    console.print(Text(f"{summary}{' (dry run: nothing was stored)' if report.dry_run else ''}"))


def _with_places(report: ApplyReport, sources: Sources) -> JsonObject:
    """The report with the file, line and column of every warning."""
    results = [
        {**plain(result), "warnings": [plain(sources.place_finding(finding)) for finding in result.warnings]}
        for result in report.results
    ]
    return {**plain(report), "results": results}


@contextmanager
def rejections_reported(*, as_json: bool) -> Generator[None]:
    """Turn `FilesRejected` into `file:line:column: message` for each error, as compilers do, and exit code 1."""
    try:
        yield
    except FilesRejected as rejected:
        if as_json:
            print_json({"valid": False, "errors": [plain(place) for place in rejected.places]})
        else:
            print_errors(rejected.places)
        raise typer.Exit(FAILED) from None


def print_errors(places: Sequence[Place]) -> None:
    for place in places:
        _print_place(place, Text(safe(place.message)))
    if places:
        err().print(Text(count_text(len(places), "error"), "red"))


def print_skipped(places: Sequence[Place]) -> None:
    """Files that were left out, each once, with the first of what is wrong with it."""
    for place in {place.file: place for place in reversed(places)}.values():
        _print_place(place, Text.assemble(("skipped: ", "yellow"), safe(place.message)))


def _print_warnings(places: Sequence[Place]) -> None:
    """On standard error, so that what is asked for stays alone on standard output."""
    for place in places:
        _print_place(place, Text.assemble(("warning: ", "yellow"), safe(place.message)))
    if places:
        err().print(Text(count_text(len(places), "warning"), "yellow"))


def _print_place(place: Place, message: Text) -> None:
    console = err()
    console.print(Text.assemble((place.where, "bold"), ": ", message))
    if place.hint:
        console.print(Text(f"  hint: {safe(place.hint)}", "dim"))
