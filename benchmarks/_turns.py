"""Times calls side by side."""

import gc
import time


def in_turns(rounds, limit=40, clock=time.perf_counter, **calls):
    """Seconds of each call in each round: calls take turns, so that other load affects all alike.

    With `time.process_time` as clock they are seconds of computing, which do not depend on other
    processes; with several threads this includes the time they wait for each other.

    The first round only warms up. After `limit` seconds and three rounds, no other round starts.
    """
    seconds = {name: [] for name in calls}
    for done in range(-1, rounds):
        if done == 0:
            begun = time.perf_counter()
        if done >= 3 and time.perf_counter() - begun > limit:
            break
        for name, call in calls.items():
            gc.collect()
            start = clock()
            call()
            if done >= 0:
                seconds[name].append(clock() - start)
    return seconds
