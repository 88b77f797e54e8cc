"""`studio list`, `show`, `delete` and `init`. Each imports what it needs when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from cli.commands import DEFINITIONS, JsonOption, Kind, ProjectFilter

KindName = Annotated[Kind, typer.Argument(metavar="KIND", help="agent, workflow, schedule or prompt.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A name or an id.")]
Project = Annotated[str, typer.Option("--project", help="Where the name is looked up.")]


def register(app: typer.Typer) -> None:
    for name, command in {"list": list_kind, "show": show, "delete": delete, "init": init}.items():
        app.command(name, rich_help_panel=DEFINITIONS)(command)


def list_kind(
    kind: KindName,
    project: ProjectFilter = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="At most so many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List what is stored of a kind, newest first.

    Example: studio list workflow
    """
    from cli import catalog

    catalog.list_kind(kind, project, limit=limit, as_json=as_json)


def show(
    kind: KindName,
    name: Name,
    version: Annotated[int | None, typer.Option("--version", min=1, help="One version; else the newest.")] = None,
    project: Project = "default",
    as_json: JsonOption = False,
) -> None:
    """Show one definition or prompt.

    Example: studio show workflow research-brief --version 2
    """
    from cli import catalog

    catalog.show(kind, name, project, version=version, as_json=as_json)


def delete(kind: KindName, name: Name, project: Project = "default", as_json: JsonOption = False) -> None:
    """Delete one definition or prompt with all its versions. Runs keep what they were started with.

    Example: studio delete agent writer
    """
    from cli import catalog

    catalog.delete(kind, name, project, as_json=as_json)


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to; made if it is not there.")] = Path(),
) -> None:
    """Write a first project to change: an agent, a workflow, its test case and a README.

    Example: studio init my-project
    """
    from cli.init import write_project

    write_project(folder)
