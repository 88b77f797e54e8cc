"""How far one client has come in a run's story."""

from collections.abc import Collection, Sequence

from api.runs.channel import RECENT, Frame, frame_of, renumbered
from api.runs.story import Identity, Seq, identity, milliseconds, read_seq
from studio.contracts.events import NewEvent, RunEvent


class Reader:
    def __init__(self, run_id: str, after: str) -> None:
        self.run_id = run_id
        self.after = read_seq(after)
        """Where the client began."""
        self.position = after
        self.last: Seq = self.after
        self.start = after
        self.caught: list[Frame] = []
        """What the client read after `start`, for those who come next."""
        self.own: set[Identity] = set()
        """What the client read by itself."""

    def take_page(self, page: Sequence[RunEvent]) -> list[Frame]:
        frames = [frame_of(event) for event in page]
        self.own.update(frame.identity for frame in frames)
        self.position = page[-1].seq
        self.last = frames[-1].seq
        self.caught += frames
        if len(self.caught) > RECENT:
            self.caught, self.start = [], self.position
        return frames

    def come_back_to(self, newest: str) -> None:
        """A client may name a position that the stream has not come to: others must not wait for it."""
        if read_seq(newest) < self.last:
            self.position = self.start = newest
            self.last = read_seq(newest)

    def unseen(self, frames: list[Frame]) -> list[Frame]:
        """Without what the client has read by itself before the channel came to it."""
        return [frame for frame in frames if frame.seq > self.last] if frames and frames[0].seq <= self.last else frames

    def take(self, frames: Sequence[Frame]) -> None:
        if frames:
            self.last = frames[-1].seq

    def missing(self, told: Sequence[NewEvent], known: Collection[Identity]) -> set[Identity]:
        """Of what the run's row tells at the end, that which the client has not heard."""
        return {
            found
            for event in told
            if (found := identity(event)) not in self.own and found not in known and milliseconds(event) > self.after[0]
        }

    def ending(self, frames: Sequence[Frame], missed: Sequence[RunEvent]) -> list[Frame]:
        """The last frames, with what was missed before the final one. Sequence numbers only grow."""
        before = frames[:-1]
        rest = [*(frame_of(event) for event in missed), *frames[-1:]]
        last = before[-1].seq if before else self.last
        numbered: list[Frame] = []
        for frame in rest:
            numbered.append(frame if frame.seq > last else renumbered(frame, (last[0], last[1] + 1)))
            last = numbered[-1].seq
        return [*before, *numbered]
