"""Actors in virtual time: each is a generator that yields to take its next message.

Messages are delivered one at a time in the order in which they were sent; when there is none left, time goes on to the
next alarm. Alarms of one moment ring in the order in which they were set.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any

STOP = "stop"
"""Sent once to an actor, and to all inside it, when it is told to end."""


@dataclass(eq=False)
class Alarm:
    """Sent to the actor that set it when its time has come."""


@dataclass(eq=False)
class Actor:
    """Something that runs beside others, or a part of one that can be stopped alone."""

    parent: "Actor | None"
    body: "Generator[None, Message, Any] | None" = None
    """None for a part: its parent takes its messages."""
    children: list["Actor"] = field(default_factory=list["Actor"])
    stopping: bool = False
    over: bool = False
    result: Any = None


Message = str | Alarm | Actor
"""`STOP`, one of its own alarms, or a child that is over."""


class World:
    def __init__(self) -> None:
        self.now = 0
        self.tied = False
        """Whether something was stopped while more was to happen at the same moment: who wins is then not defined."""
        self._mail: deque[tuple[Actor, Message]] = deque()
        self._alarms: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def spawn(self, parent: Actor | None, body: Callable[[Actor], Generator[None, Message, Any]]) -> Actor:
        """It runs at once until it waits for its first message. The parent is told when it is over."""
        actor = self.part(parent)
        actor.body = body(actor)
        self._resume(actor, None)
        return actor

    def part(self, parent: Actor | None) -> Actor:
        actor = Actor(parent)
        if parent is not None:
            actor.stopping = parent.stopping
            parent.children.append(actor)
        return actor

    def at(self, delay: int, ring: Callable[[], None]) -> None:
        heapq.heappush(self._alarms, (self.now + delay, next(self._numbers), ring))

    def alarm(self, actor: Actor, delay: int) -> Alarm:
        alarm = Alarm()
        if delay:
            self.at(delay, lambda: self._mail.append((actor, alarm)))
        else:
            self._mail.append((actor, alarm))
        return alarm

    def stop(self, actor: Actor) -> None:
        """Nothing inside begins any more; what is under way ends when it can."""
        if actor.over or actor.stopping:
            return
        actor.stopping = True
        self.tied |= any(message != STOP for _, message in self._mail)
        for child in actor.children:
            self.stop(child)
        self._mail.append((actor, STOP))

    def run(self) -> None:
        """Until nothing is left to happen."""
        while self._mail or self._alarms:
            if self._mail:
                self._resume(*self._mail.popleft())
            else:
                self.now, _, ring = heapq.heappop(self._alarms)
                ring()

    def _resume(self, actor: Actor, message: Message | None) -> None:
        while actor.body is None and actor.parent is not None:
            actor = actor.parent
        if actor.over or actor.body is None:
            return
        try:
            actor.body.send(message)  # pyright: ignore[reportArgumentType] - None begins a generator
        except StopIteration as end:
            actor.over, actor.result = True, end.value
            if actor.parent is not None:
                self._mail.append((actor.parent, actor))
