"""What a client may say on a run's WebSocket: the same as over REST, carried out by the same services."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from pydantic import Field, ValidationError

from api.runs.service import RunService
from api.runs.steering import Steering, check_signal_name
from studio.contracts.base import Contract, Json, JsonObject
from studio.contracts.interaction import DecideApproval
from studio.contracts.runs import Run
from studio.contracts.waits import SignalName
from studio.errors import FieldError, InvalidInput
from studio.web.field_errors import invalid_input
from studio.web.json_route import parse_json


class _Cancel(Contract):
    action: Literal["cancel"]


class _Pause(Contract):
    action: Literal["pause"]


class _Resume(Contract):
    action: Literal["resume"]


class _Approve(DecideApproval):
    action: Literal["approve"]
    step_id: Annotated[str, Field(min_length=1, max_length=2000)]


class _Signal(Contract):
    action: Literal["signal"]
    name: SignalName
    payload: Json = None


_Action = _Cancel | _Pause | _Resume | _Approve | _Signal
_ACTIONS: Mapping[str, type[_Action]] = {
    "cancel": _Cancel,
    "pause": _Pause,
    "resume": _Resume,
    "approve": _Approve,
    "signal": _Signal,
}


@dataclass(frozen=True)
class Actions:
    """Of one client, on one run."""

    runs: RunService
    steering: Steering
    run_id: str
    actor: str

    async def carry_out(self, text: bytes) -> JsonObject:
        """The acknowledging frame. Raises errors of ours and the database's."""
        action = _read(text)
        return {"type": "ack", "action": action.action, "result": await self._result(action)}

    async def _result(self, action: _Action) -> Json:
        match action:
            case _Cancel():
                return await self._told(self.runs.cancel)
            case _Pause():
                return await self._told(self.steering.pause)
            case _Resume():
                return await self._told(self.steering.resume)
            case _Signal():
                check_signal_name(action.name, "body")
                run = await self.steering.signal(self.run_id, action.name, action.payload)
                return _brief(run)
            case _Approve():
                given = action.model_dump(include=action.model_fields_set - {"action", "step_id"})
                body = DecideApproval.model_validate(given)
                return await self.steering.decide(self.run_id, action.step_id, body, self.actor)

    async def _told(self, tell: Callable[[str], Awaitable[Run]]) -> JsonObject:
        return _brief(await tell(self.run_id))


def _brief(run: Run) -> JsonObject:
    """The client watches the rest."""
    return {"run_id": run.id, "status": run.status}


def _read(text: bytes) -> _Action:
    """Raises `InvalidInput`."""
    given: Any = parse_json(text)
    name = cast("JsonObject", given).get("action") if isinstance(given, dict) else None
    kind = _ACTIONS.get(name) if isinstance(name, str) else None
    if kind is None:
        known = ", ".join(map(repr, _ACTIONS))
        message = f"not one of {known}"
        raise InvalidInput(
            f"body.action: {message}", errors=[FieldError(loc=["body", "action"], msg=message, type="action")]
        )
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise invalid_input(error, prefix=["body"], shape=kind) from None
