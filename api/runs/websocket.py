"""`WS /api/v1/runs/{run_id}/ws`: a run's events, one JSON text frame each, and what its client says to the run."""

import asyncio
import contextlib
import time

import structlog
from fastapi import APIRouter
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from api.database_faults import FAULTS, database_problem
from api.deps import PartsDep
from api.runs.channel import TooSlow
from api.runs.events import position
from api.runs.hub import BEGINNING, Frames
from api.runs.socket_actions import Actions
from studio.errors import BadRequest, DependencyUnavailable, InvalidInput, NotFound, PayloadTooLarge, StudioError
from studio.tasks import end_tasks
from studio.web.headers import header_text
from studio.web.preconditions import ANONYMOUS
from studio.web.problems import problem_response
from studio.web.responses import dump_json

router = APIRouter(prefix="/api/v1")

MAX_MESSAGE_BYTES = 1024 * 1024
BURST = 20
"""So many messages are taken at once; from then on `PER_SECOND`, and the others wait in the client's own buffers."""
PER_SECOND = 10
ANSWER_SECONDS = 5.0
"""A run that ends leaves so much time to answer what its client has just said."""
MAX_ACTOR = 256
NORMAL, INTERNAL_ERROR, TRY_AGAIN_LATER = 1000, 1011, 1013
_PRIVATE = 4000
"""Close codes from here on are an application's own: ours are this and the HTTP status, 4404."""
_FRAMES_A_TURN = 100

_log = structlog.get_logger(__name__)
Close = tuple[int, str]


@router.websocket("/runs/{run_id}/ws")
async def run_socket(websocket: WebSocket, run_id: str, parts: PartsDep) -> None:
    await websocket.accept()
    socket = _Socket(websocket)
    try:
        actions = Actions(parts.runs, parts.steering, run_id, _actor(websocket))
        frames = await parts.events.open(_checked(run_id), _after(websocket))
    except (StudioError, *FAULTS) as error:
        await socket.refuse(_as_problem(error))
        return
    if frames is None:
        await socket.close((NORMAL, "the run has ended"))
        return
    async with contextlib.aclosing(frames):
        await socket.serve(frames, actions)


def _checked(run_id: str) -> str:
    if len(run_id) > 64 or "\0" in run_id:
        raise NotFound("There is no such run.")
    return run_id


def _after(websocket: WebSocket) -> str:
    return position("after", websocket.query_params.get("after"), "query") or BEGINNING


def _actor(websocket: WebSocket) -> str:
    actor = header_text(websocket.headers.get("x-studio-actor", ANONYMOUS).encode("latin-1"))
    if len(actor) > MAX_ACTOR:
        raise InvalidInput(f"X-Studio-Actor is longer than {MAX_ACTOR} characters.")
    return actor


def _as_problem(error: Exception) -> StudioError:
    problem = database_problem(error) if isinstance(error, FAULTS) else error
    if isinstance(problem, StudioError):
        return problem
    _log.error("socket.crashed", exc_info=error)
    return StudioError("Something went wrong on our side; it is in the API's log.")


class _Socket:
    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._answering = asyncio.Lock()
        self._allowance = float(BURST)
        self._counted_at = time.monotonic()

    async def serve(self, frames: Frames, actions: Actions) -> None:
        """Until the run has ended, the client has left or fell behind, or the server stops."""
        telling = asyncio.create_task(self._tell(frames), name="socket events")
        listening = asyncio.create_task(self._listen(actions), name="socket actions")
        try:
            await asyncio.wait([telling, listening], return_when=asyncio.FIRST_COMPLETED)
            if not telling.done():
                return  # the client has left
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS), self._answering:
                    pass
        finally:
            await end_tasks(telling, listening)
        await self.close(telling.result())

    async def _tell(self, frames: Frames) -> Close:
        try:
            async for batch in frames:
                for count, frame in enumerate(batch, 1):
                    await self._send(frame.text)
                    if count % _FRAMES_A_TURN == 0:
                        await asyncio.sleep(0)  # a send that finds room does not give way
        except TooSlow:
            return TRY_AGAIN_LATER, "this reader cannot keep up; go on with ?after= the last seq"
        except DependencyUnavailable:
            return TRY_AGAIN_LATER, "the events cannot be read now; go on with ?after= the last seq"
        except WebSocketDisconnect:
            return NORMAL, ""
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets a close code
            _as_problem(error)
            return INTERNAL_ERROR, "something went wrong on our side; go on with ?after= the last seq"
        return NORMAL, "the run has ended"

    async def _listen(self, actions: Actions) -> None:
        while (message := await self._websocket.receive())["type"] != "websocket.disconnect":
            async with self._answering:
                try:
                    await self._send(await self._answer(message, actions))
                except WebSocketDisconnect:
                    return
            await self._pace()

    async def _answer(self, message: Message, actions: Actions) -> str:
        try:
            return dump_json(await actions.carry_out(_text(message))).decode()
        except Exception as error:  # noqa: BLE001 - whatever it is, the socket stays open
            return _error_frame(_as_problem(error))

    async def _pace(self) -> None:
        now = time.monotonic()
        self._allowance = min(BURST, self._allowance + (now - self._counted_at) * PER_SECOND) - 1
        self._counted_at = now
        if self._allowance < 0:
            await asyncio.sleep(-self._allowance / PER_SECOND)

    async def _send(self, text: str) -> None:
        await self._websocket.send_text(text)

    async def refuse(self, error: StudioError) -> None:
        """Say why in a frame, for those who show it, and in the close code, for browsers."""
        with contextlib.suppress(WebSocketDisconnect):
            await self._send(_error_frame(error))
        code = TRY_AGAIN_LATER if error.status == 503 else _PRIVATE + error.status
        await self.close((code, error.title.lower()))

    async def close(self, close: Close) -> None:
        code, reason = close
        open_still = WebSocketState.CONNECTED
        if self._websocket.client_state is open_still and self._websocket.application_state is open_still:
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await self._websocket.close(code, reason)


def _text(message: Message) -> bytes:
    """Raises `BadRequest` and `PayloadTooLarge`."""
    text: str | None = message.get("text")
    if text is None:
        raise BadRequest("Send text frames that hold JSON; this one was binary.")
    if len(text) > MAX_MESSAGE_BYTES or len(body := text.encode()) > MAX_MESSAGE_BYTES:
        raise PayloadTooLarge(f"The message is larger than {MAX_MESSAGE_BYTES} bytes. Signals may be larger over REST.")
    return body


def _error_frame(error: StudioError) -> str:
    return f'{{"type":"error","error":{bytes(problem_response(error).body).decode()}}}'
