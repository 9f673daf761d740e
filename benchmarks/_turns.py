"""Times calls side by side."""

import gc
import time


def in_turns(rounds, limit=40, **calls):
    """Seconds of each call in each round: one after the other, so that all see the same machine.

    The first round only warms up. After `limit` seconds no further round is begun, once there are
    three.
    """
    seconds = {name: [] for name in calls}
    for done in range(-1, rounds):
        if done == 0:
            begun = time.perf_counter()
        if done >= 3 and time.perf_counter() - begun > limit:
            break
        for name, call in calls.items():
            gc.collect()
            start = time.perf_counter()
            call()
            if done >= 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds
