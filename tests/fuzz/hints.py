"""What a generator cannot guess, written into the document that is fuzzed: things that there are, and bodies that are
accepted. What the document itself says stays beside it, as the other alternative.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence

from studio.contracts.base import Json, JsonObject
from tests.fuzz.seeds import Hint

_PARAMETERS: Mapping[str, Sequence[str]] = {
    "project_id": ["default", "elsewhere"],
    "if-match": ["*", '"1"'],
    "after": ["0-0", "1-0"],
    "Last-Event-ID": ["0-0", "1-0"],
    "X-Studio-Metadata": ['{"team": "a"}', "{}"],
}
_EVENT: JsonObject = {"type": "object", "required": ["data"], "properties": {"data": {"type": "string"}}}
MODELS = ("default", "up/m")
_NAME: JsonObject = {"type": "string", "pattern": "^[a-z][a-z0-9]{8}$"}


def hinted(document: JsonObject, hints: Sequence[Hint]) -> JsonObject:
    found = copy.deepcopy(document)
    for path, method, operation in _operations(found):
        for parameter in operation.get("parameters", []):
            values = _known(hints, path, method, parameter) or _PARAMETERS.get(parameter["name"])
            if values is not None:
                parameter["schema"] = {"enum": list(values)}
        for response in operation["responses"].values():
            if "text/event-stream" in response.get("content", {}):
                # Schemathesis reads the schema of a stream as that of an event, as some versions of OpenAPI have it.
                response["content"]["text/event-stream"]["schema"] = _EVENT
        contents: Mapping[str, JsonObject] = operation.get("requestBody", {}).get("content", {})
        for media_type, content in contents.items():
            _name_models(content["schema"])
            likely = _likely(operation["operationId"], media_type)
            if likely is not None:
                content["schema"] = {"anyOf": [likely, content["schema"]]}
    return found


def _known(hints: Sequence[Hint], path: str, method: str, parameter: JsonObject) -> Sequence[str | int] | None:
    """The most particular hint's values."""
    fitting = [
        hint
        for hint in hints
        if hint.parameter == parameter["name"]
        and path.startswith(hint.path)
        and (not hint.methods or method in hint.methods)
    ]
    return max(fitting, key=lambda hint: (len(hint.path), len(hint.methods))).values if fitting else None


def _name_models(schema: JsonObject) -> None:
    """In what is written out in a body; a schema with a name may be an answer's, too."""
    if "model" in schema.get("properties", {}):
        schema["properties"]["model"] = {"enum": [*MODELS, "up/none", "nowhere/m"]}


def _operations(document: JsonObject) -> Iterator[tuple[str, str, JsonObject]]:
    paths: Mapping[str, Mapping[str, JsonObject]] = document["paths"]
    return ((path, method, operation) for path, item in paths.items() for method, operation in item.items())


def _exactly(*optional: str, **properties: JsonObject) -> JsonObject:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


_STEPS: list[Json] = [
    [{"id": "copy", "transform": {"given": "${{ input }}"}}],
    [{"id": "ask", "agent": {"model": "default", "instructions": "Say it again."}}],
    [{"id": "review", "approval": {"message": "Shall we?"}}],
    [{"id": "wait", "wait": {"signal": "go"}}],
    [{"id": "each", "parallel": {"for_each": "${{ [1, 2] }}", "do": [{"id": "one", "transform": "${{ item }}"}]}}],
]
_WORKFLOW = _exactly(
    "description",
    name=_NAME,
    description={"type": "string"},
    pattern={"const": "sequential"},
    steps={"enum": _STEPS},
)
_AGENT = _exactly(
    "params",
    name=_NAME,
    model={"enum": list(MODELS)},
    instructions={"type": "string", "pattern": "^[^{}$]*$"},
    params={"enum": [{}, {"temperature": 0.5}]},
)
_SCHEDULE = _exactly(
    "input",
    "overlap",
    name=_NAME,
    workflow={"enum": ["known", "asks"]},
    cron={"enum": ["0 9 * * MON-FRI", "@yearly", ["0 0 1 1 *", "0 0 2 1 *"]]},
    input={},
    overlap={"enum": ["skip", "buffer_one", "buffer_all", "cancel_other", "terminate_other", "allow_all"]},
)
_YAML: JsonObject = {
    "enum": [
        "kind: agent\nname: written\nmodel: default\ninstructions: Say it again.\n",
        "kind: workflow\nname: written\npattern: sequential\nsteps:\n  - {id: copy, transform: '${{ input }}'}\n",
        "kind: workflow\nname: wrong\npattern: sequential\nsteps:\n  - {id: copy, transform: '${{ inputs }'}\n",
    ]
}


def _of_kind(kind: str, schema: JsonObject) -> JsonObject:
    properties = {"kind": {"const": kind}, **schema["properties"]}
    return {**schema, "properties": properties, "required": ["kind", *schema["required"]]}


_DOCUMENTS: JsonObject = {
    "type": "array",
    "items": {
        "anyOf": [_of_kind("workflow", _WORKFLOW), _of_kind("agent", _AGENT), _of_kind("schedule", _SCHEDULE)],
    },
    "minItems": 1,
    "maxItems": 4,
}


def _edited(schema: JsonObject) -> JsonObject:
    """With the name of what is edited: it may not be changed."""
    return {**schema, "properties": {**schema["properties"], "name": {"const": "edited"}}}


_ITEMS: JsonObject = {"type": "array", "items": _exactly("input", input={}), "minItems": 1, "maxItems": 3}
_DESCRIPTION = _exactly(description={"type": "string"})
_TEMPLATE: JsonObject = {
    "enum": ["Greet {{ who }}", "Greet {{ who }} {{ times }} times", "{% if who %}Hello{% endif %}"]
}
_VARIABLES = _exactly("times", who={}, times={"type": "integer"})
_MODEL: JsonObject = {"enum": list(MODELS)}
_CHAT = _exactly(
    "stream",
    model=_MODEL,
    messages={
        "type": "array",
        "items": _exactly(role={"enum": ["system", "user"]}, content={"type": "string"}),
        "minItems": 1,
        "maxItems": 3,
    },
    stream={"type": "boolean"},
)
_COMPLETION = _exactly("stream", model=_MODEL, prompt={"type": "string"}, stream={"type": "boolean"})
_EMBEDDINGS = _exactly(
    model=_MODEL, input={"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
)
_ONE_DAY = "2026-03-01T00:00:00Z"
BY_MEDIA_TYPE: Mapping[str, Mapping[str, JsonObject]] = {
    operation: {"application/json": _DOCUMENTS, "application/yaml": _YAML}
    for operation in ("apply_documents", "validate_documents")
}
BODIES: Mapping[str, JsonObject] = {
    "create_workflow": _WORKFLOW,
    "replace_workflow": _edited(_WORKFLOW),
    "patch_workflow": _DESCRIPTION,
    "create_agent": _AGENT,
    "replace_agent": _edited(_AGENT),
    "patch_agent": _DESCRIPTION,
    "create_schedule": _SCHEDULE,
    "replace_schedule": _edited(_SCHEDULE),
    "patch_schedule": _DESCRIPTION,
    "start_workflow_batch": _exactly(items=_ITEMS),
    "start_agent_batch": _exactly(items=_ITEMS),
    "retry_run": _exactly("plan_only", from_step={"const": "broken"}, plan_only={"type": "boolean"}),
    "replay_run": _exactly(input={}),
    "backfill_schedule": _exactly(start_at={"const": _ONE_DAY}, end_at={"enum": [_ONE_DAY, "2026-03-04T00:00:00Z"]}),
    "change_run_limits": _exactly(max_steps={"type": "integer", "minimum": 1, "maximum": 10_000}),
    "create_prompt": _exactly(
        "label", name=_NAME, type={"const": "text"}, template=_TEMPLATE, label={"const": "production"}
    ),
    "create_prompt_version": _exactly(template=_TEMPLATE),
    "promote_prompt": _exactly("label", version={"enum": [1, 2]}, label={"enum": ["production", "staging"]}),
    "render_prompt": _exactly(variables=_VARIABLES),
    "render_template": _exactly(template=_TEMPLATE, variables=_VARIABLES),
    "create_chat_completion": _CHAT,
    "create_completion": _COMPLETION,
    "create_embeddings": _EMBEDDINGS,
}


def _likely(operation_id: str, media_type: str) -> JsonObject | None:
    name = operation_id.removesuffix("_below_api")
    fallback = BODIES.get(name) if media_type == "application/json" else None
    return BY_MEDIA_TYPE.get(name, {}).get(media_type, fallback)
