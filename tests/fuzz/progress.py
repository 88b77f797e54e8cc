"""What schemathesis loads as its hooks: it says what goes on, counts it for the summary, and reads YAML streams."""

import os
from collections import Counter
from pathlib import Path
from typing import Any, cast

import orjson
import schemathesis
import schemathesis.cli
import yaml
from pydantic import ValidationError
from schemathesis.cli import EventHandler
from schemathesis.core import media_types
from schemathesis.engine import events
from schemathesis.engine.recorder import ScenarioRecorder

from studio.web.openapi import Problem
from tests.fuzz.summary import Counts, say

COUNTS_VARIABLE = "FUZZ_COUNTS"
_EVERY = 20


@schemathesis.deserializer(*media_types.YAML_MEDIA_TYPES)
def read_stream(_: schemathesis.DeserializationContext, response: schemathesis.Response) -> str:
    """The text of documents that can be read; schemathesis itself reads one document only."""
    text = response.content.decode()
    list(yaml.safe_load_all(text))
    return text


@schemathesis.cli.handler()
class Progress(EventHandler[Any]):
    def __init__(self, *_: Any, **__: Any) -> None:
        self._answers: dict[str, Counter[str]] = {}
        self._refusals: dict[str, Counter[str]] = {}
        self._links: Counter[str] = Counter()
        self._inferred: Counter[str] = Counter()
        self._sequences = 0
        self._steps = 0

    def handle_event(self, ctx: Any, event: events.EngineEvent) -> None:
        if not isinstance(event, events.ScenarioFinished):
            return
        answered = self._count(event.recorder)
        if event.label is None:
            if not event.recorder.cases:
                return
            self._sequences += 1
            self._steps += len(event.recorder.cases)
            if self._sequences % _EVERY == 0:
                say(f"  {self._sequences} sequences, {self._steps} requests")
            return
        what = f"{event.phase.value}  {event.label}  {_shown(answered)} {event.skip_reason or ''}"
        say(f"  {event.elapsed_time:6.1f} s  {what}")

    def _count(self, recorder: ScenarioRecorder) -> Counter[str]:
        """Statuses of this scenario."""
        found: Counter[str] = Counter()
        for case_id, node in recorder.cases.items():
            response = recorder.find_response(case_id=case_id)
            status = "none" if response is None else str(response.status_code)
            found[status] += 1
            label = cast("str", node.value.operation.label)
            self._answers.setdefault(label, Counter())[status] += 1
            if response is not None and status.startswith("4"):
                self._refusals.setdefault(label, Counter())[_reason(response.content)] += 1
            if node.transition is not None and node.is_transition_applied:
                links = self._inferred if node.transition.is_inferred else self._links
                links[node.transition.id] += 1
        return found

    def shutdown(self, ctx: Any) -> None:
        counts = Counts(
            answers={label: dict(found) for label, found in self._answers.items()},
            refusals={label: dict(found.most_common(5)) for label, found in self._refusals.items()},
            links=dict(self._links),
            inferred=dict(self._inferred),
            sequences=self._sequences,
            failures=ctx.statistic.total_failures,
            errors=len(ctx.errors),
        )
        Path(os.environ[COUNTS_VARIABLE]).write_bytes(orjson.dumps(counts))  # noqa: TID251 - handed over by the runner


def _reason(body: bytes) -> str:
    """What a problem document says first."""
    try:
        problem = Problem.model_validate_json(body)
    except ValidationError:
        return "no problem document"
    if not problem.errors:
        return problem.detail
    place = ".".join(map(str, problem.errors[0].loc))
    return f"{place}: {problem.errors[0].msg}"


def _shown(statuses: Counter[str]) -> str:
    return ", ".join(f"{number} x {status}" for status, number in sorted(statuses.items()))
