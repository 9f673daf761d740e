"""Times calls side by side."""

import gc
import time


def in_turns(rounds, limit=40, clock=time.perf_counter, **calls):
    """Seconds of each call in each round: one after the other, so that all see the same machine.

    With `time.process_time` as clock they are seconds of computing, whatever else the machine does;
    with several threads that counts their waiting for each other, too.

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
            start = clock()
            call()
            if done >= 0:
                seconds[name].append(clock() - start)
    return seconds
