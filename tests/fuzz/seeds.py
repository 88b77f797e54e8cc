"""What the stack holds before it is fuzzed: generated names and ids alone would nearly always be answered with 404.

Each operation is given things of its own kind (`Hint`): what is deleted, ended or edited is nobody else's.
"""

import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from studio.contracts.base import Json, JsonObject

WAIT_SECONDS = 60.0
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
_SPARE = 8


@dataclass(frozen=True)
class Hint:
    """A parameter of the paths that begin with `path` and, if there are any, of these methods is one of `values`."""

    path: str
    parameter: str
    values: Sequence[str | int]
    methods: frozenset[str] = frozenset()


_AGENT: JsonObject = {"model": "default", "instructions": "Say it again."}
_WORKFLOWS: Mapping[str, JsonObject] = {
    "known": {"steps": [{"id": "copy", "transform": {"given": "${{ input }}"}}]},
    "asks": {"steps": [{"id": "review", "approval": {"message": "Shall we?", "allow_edit": True}}]},
    "waits": {"steps": [{"id": "wait", "wait": {"signal": "go"}}]},
    "parent": {"steps": [{"id": "child", "workflow": "waits"}]},
    "parks": {"on_failure": "pause", "steps": [{"id": "broken", "fail": {"type": "broken", "message": "It broke"}}]},
    "fails": {"steps": [{"id": "broken", "fail": {"type": "broken", "message": "It broke"}}]},
}
_IN_EXAMPLES = ("planner", "researcher", "writer")
"""Agents that the examples of the document name."""
_EDITS, _DELETES = frozenset({"put", "patch"}), frozenset({"delete"})


def seed_api(url: str) -> list[Hint]:
    documents: list[JsonObject] = [
        {"kind": "workflow", "name": name, "pattern": "sequential", **body} for name, body in _WORKFLOWS.items()
    ]
    documents += [
        {"kind": "workflow", "name": name, "pattern": "sequential", **_WORKFLOWS["known"]}
        for name in ("edited", *_spare())
    ]
    documents += [{"kind": "agent", "name": name, **_AGENT} for name in _IN_EXAMPLES]
    for name in ("known", "edited", *_spare()):
        documents.append({"kind": "agent", "name": name, **_AGENT})
        documents.append(
            {"kind": "schedule", "name": name, "workflow": "known", "interval": "24h", "paused": True, "input": 1}
        )
    _post(url, "/api/v1/apply", documents)
    runs = {
        name: [_post(url, f"/api/v1/workflows/{workflow}/runs", {"input": {"n": n}})["id"] for n in range(count)]
        for name, workflow, count in (
            ("finished", "known", 5),
            ("asking", "asks", 20),
            ("signalled", "waits", 10),
            ("ended", "waits", 20),
            ("held", "waits", 5),
            ("parents", "parent", 3),
            ("parked", "parks", 15),
            ("failed", "fails", 10),
        )
    }
    items: list[Json] = [{"input": n} for n in range(2)]
    batches = [_post(url, "/api/v1/workflows/waits/runs:batch", {"items": items})["id"] for _ in range(5)]
    for name, status in (("asking", "waiting"), ("parked", "paused"), ("failed", "failed"), ("finished", "succeeded")):
        for run_id in runs[name]:
            _until(url, run_id, status)
    run = "/api/v1/runs/{run_id}"
    any_run = [found for name in ("finished", "asking", "parked", "failed") for found in runs[name]]
    kinds = [f"/api/v1/{kind}/{{ref}}" for kind in ("agents", "workflows", "schedules")]
    return [
        *(Hint(kind, "ref", ["known"]) for kind in kinds),
        *(Hint(kind, "ref", [_id_of_edited(url, kind)], _EDITS) for kind in kinds),
        *(Hint(kind, "ref", _spare(), _DELETES) for kind in kinds),
        *(Hint(f"{kind}/versions/{{version}}", "version", [1]) for kind in kinds),
        Hint("/api/v1/workflows/{ref}/runs", "ref", list(_WORKFLOWS)),
        Hint("/api/v1/batches/{batch_id}", "batch_id", batches),
        Hint(run, "run_id", any_run),
        Hint(f"{run}/cancel", "run_id", runs["ended"]),
        Hint(f"{run}/terminate", "run_id", runs["ended"]),
        Hint(f"{run}/pause", "run_id", runs["held"]),
        Hint(f"{run}/resume", "run_id", runs["held"]),
        Hint(f"{run}/limits", "run_id", [*runs["held"], *runs["parents"]]),
        Hint(f"{run}/limits", "step_id", ["child"]),
        Hint(f"{run}/retry", "run_id", runs["failed"]),
        Hint(f"{run}/replay", "run_id", [*runs["finished"], *runs["failed"]]),
        Hint(f"{run}/signals/{{name}}", "run_id", runs["signalled"]),
        Hint(f"{run}/signals/{{name}}", "name", ["go"]),
        Hint(f"{run}/approvals/{{step_id}}", "run_id", runs["asking"]),
        Hint(f"{run}/approvals/{{step_id}}", "step_id", ["review"]),
        Hint(f"{run}/steps/{{step_id}}/resolve", "run_id", runs["parked"]),
        Hint(f"{run}/steps/{{step_id}}/resolve", "step_id", ["broken"]),
    ]


def seed_prompts(url: str) -> list[Hint]:
    for name in ("known", "edited", *_spare()):
        _post(url, "/api/v1/prompts", {"name": name, "type": "text"})
        for number in (1, 2):
            _post(url, f"/api/v1/prompts/{name}/versions", {"template": f"Greet {{{{ who }}}} {number} times"})
            _post(url, f"/api/v1/prompts/{name}/promote", {"version": number})
    now = datetime.now(UTC).isoformat()
    span: JsonObject = {
        "trace_id": TRACE_ID,
        "span_id": "b7ad6b7169203331",
        "name": "call",
        "kind": "llm",
        "status": "ok",
        "started_at": now,
        "ended_at": now,
    }
    _post(url, "/api/v1/traces", {"spans": [span]})
    prompt = "/api/v1/prompts/{ref}"
    return [
        Hint(prompt, "ref", ["known"]),
        Hint(prompt, "ref", [_id_of_edited(url, prompt)], _EDITS),
        Hint(prompt, "ref", _spare(), _DELETES),
        Hint(f"{prompt}/versions/{{number}}", "number", [1, 2]),
        Hint("/api/v1/traces/{trace_id}", "trace_id", [TRACE_ID]),
    ]


def seed_llm(url: str) -> list[Hint]:
    return [Hint(f"{prefix}/models/{{model}}", "model", ["up/m", "default"]) for prefix in ("/v1", "/api/v1")]


def _spare() -> list[str]:
    return [f"spare-{number}" for number in range(_SPARE)]


def _id_of_edited(url: str, path: str) -> str:
    """An edit may give it another name."""
    return str(_ask(url + path.replace("{ref}", "edited"))["id"])


def _until(url: str, run_id: str, status: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while (found := _ask(f"{url}/api/v1/runs/{run_id}"))["status"] != status:
        if time.monotonic() > deadline:
            raise RuntimeError(f"run {run_id} is {found['status']} and not {status} after {WAIT_SECONDS:g} s")
        time.sleep(0.1)


def _post(url: str, path: str, body: Json) -> Any:
    return _ask(url + path, orjson.dumps(body))


def _ask(address: str, data: bytes | None = None) -> Any:
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})  # noqa: S310 - our stack
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our stack
        return orjson.loads(answer.read())
