"""Training on several devices and in several processes, beside one with the whole batch."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_dense as kd

PROGRAM = pathlib.Path(__file__).parent / "many_devices.py"
BACKEND = keras.backend.backend()
ROOT = PROGRAM.parents[2]

# Exactly as on one device, up to rounding.
SAME = ["plain", "frozen", "uncertainty", "teacher", "dice"]
# Other numbers than on one device: docs/scale.md says so.
OTHER = ["batch_norm"] if BACKEND == "tensorflow" else []
if BACKEND == "jax":
    SAME += ["batch_norm", "lovasz_of_batch"]
if BACKEND == "torch":
    SAME += ["whole_validation", "log_sum", "progress", "layerwise"]
    SAME += ["lovasz_of_images", "hard_by_threshold"]
    OTHER = ["batch_norm", "fused", "lovasz_of_batch", "hard_by_share", "keras_loss"]

# Scores of training on the strong views, which docs/scale.md mentions.
APART = {
    ("teacher", name)
    for name in ("agreement", "mean_iou", "pixel_accuracy")
    if BACKEND == "tensorflow"
}

only_torch = pytest.mark.skipif(BACKEND != "torch", reason="processes of PyTorch")
only_jax = pytest.mark.skipif(BACKEND != "jax", reason="processes of JAX")


def environment(**more):
    found = {**os.environ, "KERAS_BACKEND": BACKEND, "OMP_NUM_THREADS": "1", **more}
    found["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return found


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def start(out, devices, scenarios, rank=None, port=None, **more):
    """A process of the program: the only one, or one of several."""
    if rank is not None and BACKEND == "torch":
        more |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        more |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(devices)}
    elif rank is not None:
        more |= {"KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{port}"}
        more |= {"KERAS_DISTRIBUTION_NUM_PROCESSES": str(devices)}
        more |= {"KERAS_DISTRIBUTION_PROCESS_ID": str(rank)}
    elif BACKEND == "jax":
        flags = os.environ.get("XLA_FLAGS", "")
        more["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, PROGRAM, str(out), str(devices), *scenarios],
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def end(processes, seconds=1800):
    """Exit codes and output of processes; the test fails if they hang."""
    try:
        texts = [process.communicate(timeout=seconds)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], texts


def run(out, devices, scenarios, **more):
    out.mkdir(exist_ok=True)
    if BACKEND == "torch" and devices > 1:
        return run_processes(out, devices, scenarios, **more)
    codes, texts = end([start(out, devices, scenarios, **more)])
    assert codes == [0], texts[0][-3000:]


def run_processes(out, number, scenarios, **more):
    port = free_port()
    processes = [start(out, number, scenarios, rank, port, **more) for rank in range(number)]
    codes, texts = end(processes)
    assert codes == [0] * number, "\n".join(text[-3000:] for text in texts)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Results of every scenario on one device, and by rank on two."""
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    run(one, 1, SAME + OTHER)
    run(two, 2, SAME + OTHER)
    ranks = 2 if BACKEND == "torch" else 1

    def read(path):
        return json.loads(path.read_text())

    return {
        name: (
            read(one / f"{name}.0.json"),
            *(read(two / f"{name}.{r}.json") for r in range(ranks)),
        )
        for name in SAME + OTHER
    }


def difference(a, b):
    pairs = zip(keras.tree.flatten(a), keras.tree.flatten(b), strict=True)
    return max(abs(x - y) for x, y in pairs)


@pytest.mark.exhaustive
@pytest.mark.everywhere
@pytest.mark.parametrize("name", SAME)
def test_two_devices_train_as_one_with_the_whole_batch(trained, name):
    one, *two = trained[name]
    for found in two:
        # Losses, metrics, validation and balance, of which each scene has other void pixels.
        logs = [log for log in one["history"] if (name, log) not in APART]
        for log in logs:
            assert difference(one["history"][log], found["history"][log]) < 1e-5, log
        assert difference(one["predictions"], found["predictions"]) < 1e-5
        assert difference(one["weights"], found["weights"]) < 1e-5


@pytest.mark.exhaustive
@pytest.mark.skipif(BACKEND == "jax", reason="nothing differs")
@pytest.mark.parametrize("name", OTHER)
def test_what_is_known_to_differ(trained, name):
    one, *two = trained[name]
    found = difference(one["predictions"], two[0]["predictions"])
    assert 1e-4 < found < 1.0


@pytest.mark.exhaustive
@only_torch
@pytest.mark.parametrize("name", SAME + OTHER)
def test_processes_end_with_equal_weights_and_logs(trained, name):
    _, first, second = trained[name]
    assert first["weights"] == second["weights"]
    assert first["history"] == second["history"]


def history(out, rank=0):
    return json.loads((out / f"run.{rank}.json").read_text())


@pytest.mark.exhaustive
@only_torch
def test_a_killed_process_ends_the_run_which_continues(tmp_path):
    whole, killed, fewer = (tmp_path / name for name in ("whole", "killed", "fewer"))
    run(whole, 2, ["run"])
    killed.mkdir()
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    result = subprocess.run(
        [sys.executable, *command, PROGRAM, str(killed), "2", "run"],
        env=environment(END="kill 1 2"),
        capture_output=True,
        text=True,
        timeout=1200,  # on a busy machine
    )
    assert result.returncode != 0
    assert "Signal 9 (SIGKILL)" in result.stderr and "local_rank: 1" in result.stderr
    assert [p.name for p in (killed / "checkpoints").iterdir()] == ["epoch_0002"]

    run(killed, 2, ["run"])
    for rank in (0, 1):
        found = history(killed, rank)
        assert found["start"] == 2 and found["history"] == history(whole, rank)["history"]


@pytest.mark.exhaustive
@only_torch
def test_a_run_continues_with_another_number_of_processes(tmp_path):
    run(tmp_path, 1, ["run"])
    expected = history(tmp_path)["history"]
    state = sorted((tmp_path / "checkpoints").iterdir())
    assert len(state) == 1
    other = tmp_path / "other"
    other.mkdir()
    port = free_port()
    processes = [start(other, 2, ["run"], r, port, END="kill 1 2") for r in (0, 1)]
    codes, texts = end(processes, 500)  # the timeout of the processes is longer
    # The process that is left ends with an error, too, and does not wait forever.
    assert codes[1] == -signal.SIGKILL and codes[0] not in (0, -signal.SIGKILL), texts[0]
    assert "RuntimeError" in texts[0] or "DistBackendError" in texts[0], texts[0]
    run(other, 1, ["run"])
    found = history(other)
    assert found["start"] == 2 and difference(found["history"], expected) < 1e-5


@pytest.mark.exhaustive
@only_torch
def test_a_stopped_process_ends_the_run_after_the_timeout(tmp_path):
    port = free_port()
    first, second = (
        start(tmp_path, 2, ["run"], r, port, END="stop 1 1", LIMIT="60") for r in (0, 1)
    )
    try:
        text = first.communicate(timeout=900)[0]
    finally:
        first.kill()
        second.kill()
        second.communicate()
    assert first.returncode not in (0, -signal.SIGKILL)
    assert "Timed out" in text or "timeout" in text.lower(), text[-3000:]


@pytest.mark.exhaustive
@only_torch
def test_processes_that_train_alone_are_noticed(tmp_path):
    port = free_port()
    codes, texts = end([start(tmp_path, 2, ["run"], r, port, END="alone 0 0") for r in (0, 1)])
    assert all(codes)
    for text in texts:
        assert "different weights after an epoch" in text and "SyncProcesses()" in text


@pytest.mark.exhaustive
@only_jax
def test_two_processes_of_jax(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    run(one, 1, ["run"])
    two.mkdir()
    run_processes(two, 2, ["run"])
    for rank in (0, 1):
        assert difference(history(two, rank)["history"], history(one)["history"]) < 1e-5
    # The run is finished; all processes read that.
    run_processes(two, 2, ["run"])
    assert history(two, 1)["start"] == 4


def test_sums_and_means_without_replicas():
    from keras_dense.ops import replicas

    x = keras.ops.convert_to_tensor([1.0, 2.0])
    for function in (
        replicas.mean_over_replicas,
        replicas.as_of_whole_batch,
        replicas.sums_of_whole_batch,
    ):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(function(x)), [1, 2])
    assert replicas.gathered(3.0) == [3.0] and replicas.process_place() == (0, 1)


def test_one_process_needs_no_callback_and_takes_it():
    keras.utils.set_random_seed(0)
    x, y = np.ones((4, 2), "float32"), np.ones((4, 1), "float32")
    found = []
    for callbacks in ([], [kd.training.SyncProcesses()]):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile("sgd", loss="mse")
        found.append(model.fit(x, y, callbacks=callbacks, verbose=0).history)
        assert "apply" not in vars(model.optimizer)
    assert found[0] == found[1]
