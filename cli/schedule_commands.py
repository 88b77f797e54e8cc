"""`studio schedules …`. Each command imports what it needs when it runs."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import typer

from cli.commands import JsonOption, ProjectFilter

PANEL = "Definitions"
schedules = typer.Typer(help="Schedules: runs that start by themselves. Create and change them with `studio apply`.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A schedule's name or id.")]
Project = Annotated[str, typer.Option("--project", help="Where the name is looked up.")]
Note = Annotated[str | None, typer.Option("--note", help="Why; default your user name.")]
_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


class OverlapName(StrEnum):
    SKIP = "skip"
    BUFFER_ONE = "buffer_one"
    BUFFER_ALL = "buffer_all"
    CANCEL_OTHER = "cancel_other"
    TERMINATE_OTHER = "terminate_other"
    ALLOW_ALL = "allow_all"


Overlap = Annotated[
    OverlapName | None, typer.Option("--overlap", help="When the run before has not ended; default the schedule's.")
]


def register(app: typer.Typer) -> None:
    app.add_typer(schedules, name="schedules", rich_help_panel=PANEL, no_args_is_help=True)


@schedules.command("list")
def list_schedules(
    project: ProjectFilter = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=200, help="At most so many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List schedules, newest first.

    Example: studio schedules list
    """
    from cli.schedules import show_schedules

    show_schedules(project, limit=limit, as_json=as_json)


@schedules.command("show")
def show(name: Name, project: Project = "default", as_json: JsonOption = False) -> None:
    """Show a schedule: when it runs next, and what it ran.

    Example: studio schedules show morning-brief
    """
    from cli.schedules import show_schedule

    show_schedule(name, project, as_json=as_json)


@schedules.command("trigger")
def trigger(name: Name, overlap: Overlap = None, project: Project = "default", as_json: JsonOption = False) -> None:
    """Run it now, also when it is paused.

    Example: studio schedules trigger morning-brief
    """
    from cli.schedules import trigger_schedule

    trigger_schedule(name, project, {} if overlap is None else {"overlap": overlap.value}, as_json=as_json)


@schedules.command("pause")
def pause(name: Name, note: Note = None, project: Project = "default", as_json: JsonOption = False) -> None:
    """Start no further run; one that is under way continues.

    Example: studio schedules pause morning-brief --note "the source is down"
    """
    from cli.schedules import steer_schedule

    steer_schedule(name, project, "pause", {} if note is None else {"note": note}, "is paused", as_json=as_json)


@schedules.command("resume")
def resume(name: Name, note: Note = None, project: Project = "default", as_json: JsonOption = False) -> None:
    """Start runs again, from now on; `backfill` makes up for what was missed.

    Example: studio schedules resume morning-brief
    """
    from cli.schedules import steer_schedule

    steer_schedule(name, project, "resume", {} if note is None else {"note": note}, "is resumed", as_json=as_json)


@schedules.command("backfill")
def backfill(
    name: Name,
    start: Annotated[datetime, typer.Option("--from", metavar="TIME", formats=_FORMATS, help="The first moment.")],
    end: Annotated[datetime, typer.Option("--to", metavar="TIME", formats=_FORMATS, help="The last moment.")],
    overlap: Overlap = None,
    project: Project = "default",
    as_json: JsonOption = False,
) -> None:
    """Run for every moment of a window that is past, one after the other unless --overlap says otherwise.

    Both times are in the schedule's time zone.

    Example: studio schedules backfill morning-brief --from 2026-03-01 --to 2026-03-07
    """
    from cli.schedules import steer_schedule

    body = {"start_at": start.isoformat(), "end_at": end.isoformat()}
    if overlap is not None:
        body["overlap"] = overlap.value
    steer_schedule(name, project, "backfill", body, "runs for that window", as_json=as_json)
