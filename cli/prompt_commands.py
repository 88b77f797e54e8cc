"""`studio prompts …` and `studio traces`. Each imports what it needs when it runs."""

from typing import Annotated

import typer

from cli.commands import JsonOption, ProjectFilter

PANEL = "Prompts and traces"
prompts = typer.Typer(help="Prompts: their versions, what is in production, and what they render to.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A prompt's name or id.")]
Project = Annotated[str, typer.Option("--project", help="Where the name is looked up.")]
Label = Annotated[str | None, typer.Option("--label", help="The version that a label points to.")]
Version = Annotated[int | None, typer.Option("--version", min=1, help="One version.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=200, help="At most so many.")]


def register(app: typer.Typer) -> None:
    app.add_typer(prompts, name="prompts", rich_help_panel=PANEL, no_args_is_help=True)
    app.command("traces", rich_help_panel=PANEL)(traces)


@prompts.command("list")
def list_prompts(
    tag: Annotated[str | None, typer.Option("--tag", help="Only with this tag.")] = None,
    label: Annotated[str | None, typer.Option("--label", help="Only those that have this label.")] = None,
    project: ProjectFilter = None,
    limit: Limit = 50,
    as_json: JsonOption = False,
) -> None:
    """List prompts, newest first.

    Example: studio prompts list --tag research
    """
    from cli.prompts import show_prompts

    show_prompts({"tag": tag, "label": label, "project_id": project, "limit": limit}, as_json=as_json)


@prompts.command("show")
def show_prompt(
    name: Name,
    label: Label = None,
    version: Version = None,
    project: Project = "default",
    as_json: JsonOption = False,
) -> None:
    """Show a prompt and one of its versions: the one asked for, else production's, else the newest.

    Example: studio prompts show planner --version 2
    """
    from cli.prompts import show_prompt

    show_prompt(name, project, label=label, version=version, as_json=as_json)


@prompts.command("promote")
def promote(
    name: Name,
    version: Annotated[int, typer.Argument(metavar="VERSION", min=1, help="The version to promote.")],
    label: Annotated[str, typer.Option("--label", help="The label that will point to it.")] = "production",
    expected: Annotated[
        int | None, typer.Option("--expected", min=1, help="Only if the label points to this version now.")
    ] = None,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the history.")] = "",
    project: Project = "default",
    as_json: JsonOption = False,
) -> None:
    """Point a label to a version; everyone gets it from then on.

    Example: studio prompts promote planner 3 --expected 2 --reason "shorter questions"
    """
    from cli.prompts import promote_prompt

    promote_prompt(name, project, version, label=label, expected=expected, reason=reason, as_json=as_json)


@prompts.command("render")
def render(
    name: Name,
    variables: Annotated[
        list[str] | None,
        typer.Argument(metavar="[K=V]...", help="Variables; a value is JSON if it reads as JSON, else text."),
    ] = None,
    label: Label = None,
    version: Version = None,
    project: Project = "default",
    as_json: JsonOption = False,
) -> None:
    """Render a prompt as an agent would get it; without label and version the one in production.

    Example: studio prompts render planner topic="heat pumps" count=3
    """
    from cli.prompts import render_prompt

    render_prompt(name, project, variables or [], label=label, version=version, as_json=as_json)


def traces(
    trace_id: Annotated[str | None, typer.Argument(metavar="[TRACE_ID]", help="One trace, as a tree.")] = None,
    run: Annotated[str | None, typer.Option("--run", help="Only of this run.")] = None,
    session: Annotated[str | None, typer.Option("--session", help="Only of this session.")] = None,
    workflow: Annotated[str | None, typer.Option("--workflow", help="Only of this workflow.")] = None,
    project: ProjectFilter = None,
    limit: Limit = 20,
    as_json: JsonOption = False,
) -> None:
    """List traces, newest first; or show one with its spans, tokens and cost.

    Example: studio traces --workflow research-brief
    """
    from cli.traces import show_trace, show_traces

    if trace_id is not None:
        show_trace(trace_id, as_json=as_json)
        return
    filters: dict[str, str | None] = {"run_id": run, "session_id": session, "workflow": workflow, "project_id": project}
    show_traces(filters, limit=limit, as_json=as_json)
