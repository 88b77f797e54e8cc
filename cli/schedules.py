"""What `studio schedules` does."""

from typing import Literal

from rich.text import Text

from cli.output import err, out, print_json, print_table, print_text, safe, time_text
from cli.remote import with_api
from studio.contracts.base import JsonObject
from studio.contracts.durations import format_duration
from studio.contracts.schedules import StoredSchedule

SHOWN_NEXT = 3


def show_schedules(project: str | None, *, limit: int, as_json: bool) -> None:
    page = with_api(lambda api: api.list_schedules(project_id=project, limit=limit))
    if as_json:
        print_json(page)
        return
    print_table(
        ("name", "project", "runs", "when", "status", "next"),
        [(one.name, one.project_id, one.target[1], _when(one), _status(one), _next(one)) for one in page.items],
    )
    if page.next_cursor is not None:
        err().print(Text("There are more; a higher --limit shows them.", "dim"))


def show_schedule(ref: str, project_id: str, *, as_json: bool) -> None:
    schedule = with_api(lambda api: api.get_schedule(ref, project_id=project_id))
    if as_json:
        print_json(schedule)
    else:
        _print(schedule)


def trigger_schedule(ref: str, project_id: str, body: JsonObject, *, as_json: bool) -> None:
    found = with_api(lambda api: api.trigger_schedule(ref, body, project_id=project_id))
    if as_json:
        print_json(found)
    elif found.run_id is not None:
        print_text(f"{found.name} started {found.run_id}. `studio events {found.run_id} -f` follows it.")
    else:
        after = "another run has" if found.waits_for is None else f"{found.waits_for} has"
        print_text(f"{found.name} starts a run when {after} ended. `studio schedules show {found.name}` shows it.")


def steer_schedule(
    ref: str,
    project_id: str,
    what: Literal["pause", "resume", "backfill"],
    body: JsonObject,
    says: str,
    *,
    as_json: bool,
) -> None:
    schedule = with_api(lambda api: api.steer_schedule(ref, what, body, project_id=project_id))
    if as_json:
        print_json(schedule)
    else:
        print_text(f"{schedule.name} {says}. `studio schedules show {schedule.name}` shows its runs.")


def _print(schedule: StoredSchedule) -> None:
    kind, ref = schedule.target
    version = "" if schedule.run_version is None else f" v{schedule.run_version}"
    note = "" if schedule.note is None else f" ({schedule.note})"
    facts = [
        ("schedule", f"{schedule.name}  {schedule.id}"),
        (kind, f"{ref}{version}"),
        ("when", _when(schedule)),
        ("status", f"{_status(schedule)}{note}"),
        ("next", ", ".join(time_text(moment) for moment in (schedule.next_runs or [])[:SHOWN_NEXT])),
        ("fired", _counts(schedule)),
    ]
    for name, value in facts:
        if value:
            out().print(Text.assemble((f"{name:<9} ", "dim"), safe(value)))
    if schedule.recent:
        print_text("")
        print_table(
            ("run", "for", "started", "status", "error"),
            [
                (
                    run.run_id,
                    time_text(run.scheduled_at),
                    time_text(run.started_at),
                    run.status,
                    "" if run.error is None else safe(run.error.message),
                )
                for run in schedule.recent
            ],
        )


def _when(schedule: StoredSchedule) -> str:
    if schedule.interval is not None:
        offset = "" if schedule.offset is None else f" + {format_duration(schedule.offset)}"
        return f"every {format_duration(schedule.interval)}{offset}"
    return f"{', '.join(schedule.crons)} {schedule.timezone or 'UTC'}"


def _status(schedule: StoredSchedule) -> str:
    return "paused" if schedule.paused else "active"


def _next(schedule: StoredSchedule) -> str:
    return time_text(schedule.next_runs[0]) if schedule.next_runs else ""


def _counts(schedule: StoredSchedule) -> str:
    counts = {"": schedule.fired, "skipped ": schedule.skipped, "missed ": schedule.missed}
    return ", ".join(f"{word}{count}" for word, count in counts.items() if count)
