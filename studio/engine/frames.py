"""What the core keeps of each step that is open."""

from studio.contracts.base import Json, JsonObject, Wire
from studio.contracts.runs import RunError


class Fan(Wire):
    """The branches of an open parallel block."""

    items: list[Json] | None = None
    """What `for_each` gave; None for branches."""
    total: int
    needed: int | None
    """How many must succeed; None for all."""
    next: int = 0
    succeeded: int = 0
    over: int = 0
    errors: list[RunError] = []
    timed_out: bool = False
    """Whether the time that the join may take is over."""


class Mesh(Wire):
    """The tokens of an open graph. Edges go by their place in the definition; counts of zero are left out."""

    pending: dict[int, int] = {}
    """Tokens that wait on an edge: its source ended and its condition held."""
    carried: dict[int, str] = {}
    """The path of the visit that put the newest token on an edge."""
    held: dict[str, int] = {}
    """How many of the edges into a node hold a token."""
    open: dict[str, int] = {}
    """How many edges into a node, from outside its cycles, hold no token and can still get one."""
    absorbed: dict[int, int] = {}
    """Tokens still to come on an edge that an earlier visit of its target did not wait for."""
    starting: list[str] = []
    """Start nodes that have not run yet."""
    running: dict[str, str] = {}
    """By node, the path of its visit that is under way."""
    visits: dict[str, int] = {}
    due: dict[str, bool] = {}
    """Nodes to look at: their join may be met. Whether they waited already when the look under way began."""
    stirred: list[int] = []
    """Components in which nodes may by now wait for each other only."""
    withered: list[str] = []
    """Nodes that nothing leads to any more and that nobody was told of."""
    last: str | None = None
    """The path of the visit that ended last."""


class Team(Wire):
    """An open hierarchical block."""

    task: Json = None
    round: int = 0
    queue: list[JsonObject] = []
    """Delegations of this round that have not begun: `{worker, task}`."""
    counts: dict[str, int] = {}
    """Delegations to each worker so far."""
    under_way: dict[str, JsonObject] = {}
    """By path."""
    reports: list[JsonObject] = []
    """`{worker, task, output}` or `{worker, task, error}`, in the order of the delegations."""


class Frame(Wire):
    """An open step, or the run itself: what it still needs to know to go on."""

    node: str
    """Its id in the plan."""
    parent: str | None = None
    """The path of the step that is told when this one ends; None for the run."""
    group: str | None = None
    """Whose chain of steps it is going through, if it is."""
    position: int = 0
    """In the chain."""
    last: str | None = None
    """The path of the chain's step that finished last."""
    handling: bool = False
    """Whether the chain is one that catches its error."""
    open: list[str] = []
    """The paths of the steps inside that have not ended."""
    stopping: bool = False
    """Whether what is inside was told to stop."""
    cancelled: bool = False
    """Whether it was itself told to stop."""
    error: RunError | None = None
    """What it fails with once all inside has ended; also the error that it handles."""
    scope: dict[str, Json] = {}
    """What expressions here and further inside can name: `item` and `index`, `iteration` and `last`, `error`; and
    `steps`, by path, that are seen as they were."""
    fan: Fan | None = None
    mesh: Mesh | None = None
    team: Team | None = None
    routing: bool = False
    """Whether it waits for the answer of its router."""
    attempt: int = 1
    """Of a block that is retried."""
    retrying: bool = False
    """Whether it waits for its next attempt."""
    timed_out: bool = False
    """Whether its own `timeout` ended it: that is not tried again."""
    given: list[Json] = []
    """Its explicit input, evaluated, alone in the list; empty without one."""
    before: list[str] = []
    """Of a graph's node: the paths of the visits that led to it, in the order of the edges."""
