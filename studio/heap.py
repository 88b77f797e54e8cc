"""The garbage collector of a process that lives long."""

import gc


def settle_heap() -> None:
    """Let the collector pass over all that is there by now.

    A full collection stops every thread for as long as it takes to look at everything: in the services it is the tail
    of the answer times, in a worker Temporal takes it for a workflow that hangs when it lasts two seconds.
    """
    gc.collect()
    gc.freeze()
