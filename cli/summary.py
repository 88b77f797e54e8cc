"""A run in words: how it ended, and everything about it."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from rich.rule import Rule
from rich.text import Text

from cli.output import (
    STATUS_STYLES,
    as_text,
    cost_text,
    count_text,
    duration_text,
    on_terminal,
    out,
    print_table,
    print_text,
    safe,
    time_text,
    usage_text,
)
from cli.waits import Facts, pause_commands, pause_text, retrying_text, wait_commands, wait_text
from studio.contracts.base import utc_now
from studio.contracts.runs import FINAL_STATUSES, Run


def print_end(run: Run) -> None:
    """How a followed run ended: its output, then the facts."""
    print_output(run)
    _print_facts(_end_facts(run))


def print_run(run: Run, paused: tuple[str, Facts] | None = None) -> None:
    """Everything about a run; outputs of steps only in JSON. `paused` is the place and the data of its pause."""
    facts = [("workflow" if run.kind == "workflow" else "agent", f"{run.workflow.name} v{run.workflow.version}")]
    facts += [("project", run.project_id)] if run.project_id != "default" else []
    facts += [("session", run.session_id)] if run.session_id else []
    facts += [("user", run.user_id)] if run.user_id else []
    facts += [("metadata", ", ".join(f"{key}={value}" for key, value in run.metadata.items()))] if run.metadata else []
    facts += [("replay of", run.replay_of)] if run.replay_of else []
    facts += [("replays", ", ".join(run.replays))] if run.replays else []
    facts += [("retried", count_text(run.retry_count, "time"))] if run.retry_count else []
    facts += [("created", time_text(run.created_at))]
    _print_facts([*_end_facts(run)[:2], *facts, *_end_facts(run)[2:]])
    if run.steps:
        print_text("")
        print_table(
            ("step", "kind", "status", "attempt", "duration", "tokens", "cost"),
            [
                (
                    safe(step.id),
                    step.kind,
                    step.status,
                    str(step.attempt),
                    "" if step.duration_ms is None else duration_text(step.duration_ms),
                    f"{step.usage.total_tokens:,}" if step.usage.llm_calls else "",
                    cost_text(step.cost_usd) if step.usage.llm_calls else "",
                )
                for step in run.steps
            ],
            right=("attempt", "duration", "tokens", "cost"),
        )
    _print_retries(run)
    _print_waits(run, paused)
    print_output(run)


def _print_retries(run: Run) -> None:
    """Why steps are tried again, and when."""
    for step in run.steps:
        if step.retrying is not None:
            print_text(f"\n{step.id}: {retrying_text(step.attempt, step.retrying.model_dump(mode='json'))}", "yellow")


def _print_waits(run: Run, paused: tuple[str, Facts] | None) -> None:
    """What has to happen for the run to go on, each with what to type."""
    waits = [
        (f"{step.id} {wait_text(step.waiting)}", wait_commands(run.id, step.id, step.waiting))
        for step in run.steps
        if step.waiting is not None
    ]
    if paused is not None:
        waits.append((pause_text(*paused), pause_commands(run.id, *paused)))
    if waits:
        print_text("")
    for text, commands in waits:
        print_text(text, "magenta")
        for command in commands:
            print_text(f"  {command}", "cyan")


def print_output(run: Run) -> None:
    if run.status != "succeeded" or run.output is None:
        return
    if on_terminal():
        out().print(Rule("output", style="dim", align="left"), soft_wrap=False)
        print_text(as_text(run.output).strip("\n"))
        out().print(Rule(style="dim"), soft_wrap=False)
    else:
        print_text("\noutput:")
        print_text(as_text(run.output).strip("\n"))
        print_text("")


def _end_facts(run: Run) -> list[tuple[str, str]]:
    facts = [("run", run.id), ("status", run.status)]
    if run.error is not None:
        at = f" at {run.error.step_id}" if run.error.step_id else ""
        facts.append(("error", f"{run.error.type}{at}: {run.error.message}"))
    if (took := run_duration_ms(run)) is not None:
        facts.append(("duration", duration_text(took)))
    if run.usage.llm_calls:
        facts.append(("usage", usage_text(run.usage)))
        cost = "unpriced: no price is known for the model" if run.cost_usd is None else cost_text(run.cost_usd)
        facts.append(("cost", cost))
    if run.temporal.ui_url:
        facts.append(("temporal", run.temporal.ui_url))
    return facts


def _print_facts(facts: Iterable[tuple[str, str]]) -> None:
    console = out()
    for name, value in facts:
        style = STATUS_STYLES.get(value, "") if name == "status" else "red" if name == "error" else ""
        console.print(Text.assemble((f"{name:<10}", "dim"), (safe(value), style)))


def print_runs(runs: Sequence[Run]) -> None:
    print_table(
        ("run", "name", "status", "created", "duration", "tokens", "cost", "session"),
        [
            (
                run.id,
                f"{run.workflow.name} v{run.workflow.version}",
                run.status,
                time_text(run.created_at),
                "" if (took := run_duration_ms(run)) is None else duration_text(took),
                f"{run.usage.total_tokens:,}" if run.usage.llm_calls else "",
                cost_text(run.cost_usd) if run.usage.llm_calls else "",
                safe(run.session_id or ""),
            )
            for run in runs
        ],
        right=("duration", "tokens", "cost"),
    )


def run_duration_ms(run: Run) -> float | None:
    """From its start to its end, or until now while it goes on; None before it started."""
    if run.started_at is None:
        return None
    until: datetime | None = run.ended_at or (None if run.status in FINAL_STATUSES else utc_now())
    return None if until is None else max((until - run.started_at).total_seconds() * 1000, 0)
