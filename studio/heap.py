"""The garbage collector of a process that lives long."""

import gc


def settle_heap() -> None:
    """Let the collector pass over all that is there by now, and look less often at what comes.

    A full collection stops every thread for as long as it takes to look at everything: in the services it is the tail
    of the answer times, in a worker Temporal takes it for a workflow that hangs when it lasts two seconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
