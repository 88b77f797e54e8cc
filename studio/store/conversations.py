"""Conversations: rows in SQL, so that a history carries only their id and length."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, select

from studio.contracts.activities import FailureDetails
from studio.contracts.base import JsonObject, Wire
from studio.db.engine import Database
from studio.db.tables import MessageRow


class Receipt(Wire):
    """What a call came to, beside its answer. It stands behind the answer, where the conversation ends as far as the
    workflow knows, so nobody reads it as a message and the next message takes its place.
    """

    call: str
    """Which call of a model that was: the same in all of its attempts."""
    finish_reason: str | None
    used: FailureDetails
    """All attempts up to the answer."""


@dataclass(frozen=True)
class KeptAnswer:
    text: str
    length: int
    """Of the conversation with the answer."""
    receipt: Receipt


class ConversationStore:
    """Messages by position. What is written at a position replaces what stood there and after it, so that a retried
    activity leaves the same conversation as one that ran once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, conversation_id: str, length: int) -> list[JsonObject]:
        """The first `length` messages in order."""
        if length == 0:
            return []
        query = (
            select(MessageRow.message)
            .where(MessageRow.conversation_id == conversation_id, MessageRow.position < length)
            .order_by(MessageRow.position)
        )
        async with self._database.read() as session:
            return list(await session.scalars(query))

    async def write(self, conversation_id: str, position: int, messages: Sequence[JsonObject]) -> int:
        """Put messages from `position` on; returns the conversation's new length."""
        async with self._database.write() as session:
            await session.execute(
                delete(MessageRow).where(MessageRow.conversation_id == conversation_id, MessageRow.position >= position)
            )
            session.add_all(
                MessageRow(conversation_id=conversation_id, position=position + index, message=message)
                for index, message in enumerate(messages)
            )
        return position + len(messages)

    async def keep(self, conversation_id: str, position: int, text: str, receipt: Receipt) -> int:
        """Put a model's answer at `position`, and its receipt behind it; returns the length up to the answer."""
        answer: JsonObject = {"role": "assistant", "content": text}
        return await self.write(conversation_id, position, [answer, {"receipt": receipt.model_dump(mode="json")}]) - 1

    async def kept(self, conversation_id: str, call: str) -> KeptAnswer | None:
        """The answer that an earlier attempt of this call kept, if it came so far."""
        query = (
            select(MessageRow)
            .where(MessageRow.conversation_id == conversation_id)
            .order_by(MessageRow.position.desc())
            .limit(2)
        )
        async with self._database.read() as session:
            rows = (await session.scalars(query)).all()
        if len(rows) < 2 or "receipt" not in rows[0].message:
            return None
        receipt = Receipt.model_validate(rows[0].message["receipt"])
        if receipt.call != call:
            return None
        return KeptAnswer(rows[1].message["content"], rows[0].position, receipt)
