"""Conversations: rows in SQL, so that a history carries only their id and length."""

from collections.abc import Sequence

from sqlalchemy import delete, select

from studio.contracts.base import JsonObject
from studio.db.engine import Database
from studio.db.tables import MessageRow


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
