"""Put a server under load with a number of requests, and print how fast it answers.

python examples/serving/load.py http://127.0.0.1:8000/predict street.jpg --requests 200
"""

import argparse
import collections
import http.client
import itertools
import pathlib
import threading
import time
import urllib.parse

import numpy as np

Answer = collections.namedtuple("Answer", "status headers body seconds")


def load(url, jobs, clients):
    """Post to a server from several clients at once, each with a permanent connection.

    Args:
        url: str, address of the server.
        jobs: list of `(body, headers)`, one for each request.
        clients: int, number of clients.

    Returns:
        A list with the `Answer` to each job, or the exception where there was none.
    """
    address = urllib.parse.urlsplit(url)
    path = address.path + (f"?{address.query}" if address.query else "")
    answers = [None] * len(jobs)
    numbers = iter(range(len(jobs)))  # `next` is atomic.

    def post(connection, body, headers):
        began = time.perf_counter()
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        return Answer(answer.status, answer.headers, content, time.perf_counter() - began)

    def client():
        connection = http.client.HTTPConnection(address.netloc, timeout=60)
        for number in numbers:
            try:
                answers[number] = post(connection, *jobs[number])
            except (OSError, http.client.HTTPException) as error:
                answers[number] = error
                connection.close()
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("url")
    add("images", type=pathlib.Path, nargs="+")
    add("--requests", type=int, default=200)
    add("--clients", type=int, default=8)
    add("--accept", default="application/json", help="or image/png, application/x-npy")
    args = parser.parse_args(argv)

    headers = {"Content-Type": "application/octet-stream", "Accept": args.accept}
    bodies = itertools.cycle([path.read_bytes() for path in args.images])
    jobs = [(body, headers) for body in itertools.islice(bodies, args.requests)]
    load(args.url, jobs[: args.clients], args.clients)  # Warm up.
    began = time.perf_counter()
    answers = load(args.url, jobs, args.clients)
    seconds = time.perf_counter() - began
    counts = collections.Counter(
        getattr(answer, "status", type(answer).__name__) for answer in answers
    )
    good = [answer for answer in answers if getattr(answer, "status", None) == 200]
    counts.pop(200, None)
    if good:
        times = 1000 * np.array([answer.seconds for answer in good])
        print(
            f"{len(good)} of {len(jobs)} requests by {args.clients} clients: "
            f"{len(good) / seconds:.1f} requests/s, p50 {np.percentile(times, 50):.0f} ms, "
            f"p95 {np.percentile(times, 95):.0f} ms"
        )
    for what, count in counts.items():
        print(f"{count} × {what}")


if __name__ == "__main__":
    main()
