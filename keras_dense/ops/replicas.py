"""Devices and processes that train one model on parts of each batch: the replicas.

What they have to agree on is computed here. On JAX nothing is left to do within a step:
`keras.distribution` computes with the whole batch, wherever its parts are.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dense._types import Array, Tensor

# Elements that PyTorch sends at once: more would take memory, fewer take time for each call.
_BUCKET = 2**23


def process_place() -> tuple[int, int]:
    """The rank of this process, and the number of processes that train together.

    PyTorch: those of `torch.distributed`; JAX: those of `jax.distributed`. TensorFlow: always
    `(0, 1)`, since `tf.distribute` divides the batches of a process by itself.

    >>> process_place()
    (0, 1)
    """
    name = keras.backend.backend()
    if name == "torch":
        group = _group()
        return (0, 1) if group is None else (group.get_rank(), group.get_world_size())
    if name == "jax":
        import jax

        return jax.process_index(), jax.process_count()
    return 0, 1


# Where a launcher says how many processes there are, and what lets them find each other.
_LAUNCHERS = {
    "torch": ("WORLD_SIZE", "call torch.distributed.init_process_group() first"),
    "jax": ("KERAS_DISTRIBUTION_NUM_PROCESSES", "call keras.distribution.initialize() first"),
    "tensorflow": (
        "WORLD_SIZE",
        "start one process for all devices of a machine (tf.distribute.MirroredStrategy), or set "
        "KERAS_BACKEND to torch or jax",
    ),
}


def launched_place() -> tuple[int, int]:
    """`process_place`, if it agrees with what the launcher says.

    Raises:
        RuntimeError: if a launcher has started several processes that do not train together.

    >>> launched_place()
    (0, 1)
    """
    rank, count = process_place()
    variable, remedy = _LAUNCHERS.get(keras.backend.backend(), ("", ""))
    told = os.environ.get(variable, "1")
    if count == 1 and told not in ("", "0", "1"):
        raise RuntimeError(
            f"{variable}={told} says that there are several processes, but this one knows no "
            f"other: {remedy}."
        )
    return rank, count


def _group() -> Any:
    """`torch.distributed` if processes train together, otherwise `None`."""
    import torch.distributed as group

    return group if group.is_available() and group.is_initialized() else None


# ---------------------------------------------------------------- within a step

_steps = 0  # of PyTorch, being computed now by all processes


@contextlib.contextmanager
def common_step() -> Iterator[None]:
    """A step that all processes of PyTorch compute at the same time, on parts of one batch.

    Only here may its functions ask the others: elsewhere one process may be alone, and would wait.
    """
    global _steps
    _steps += 1
    try:
        yield
    finally:
        _steps -= 1


def mean_over_replicas(x: Tensor) -> Tensor:
    """The mean of a tensor over the replicas that compute a step together; without a gradient.

    Outside a step of several replicas, and on JAX, it is the tensor itself.

    >>> float(mean_over_replicas(ops.convert_to_tensor(3.0)))
    3.0
    """
    name = keras.backend.backend()
    if isinstance(x, keras.KerasTensor) or name not in ("tensorflow", "torch"):
        return x
    if name == "torch":
        group = _group() if _steps else None
        if group is None or group.get_world_size() == 1:
            return x
        x = x.detach().clone()
        group.all_reduce(x)
        return x / group.get_world_size()
    import tensorflow as tf

    if not tf.distribute.has_strategy() or tf.distribute.in_cross_replica_context():
        return x
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return x
    return tf.stop_gradient(context.all_reduce(tf.distribute.ReduceOp.MEAN, x))


def as_of_whole_batch(x: Tensor) -> Tensor:
    """Values whose mean over the replicas is wanted, as that mean, each with its own gradient.

    What is computed from them is the same on all replicas, and the mean of its gradients over the
    replicas is the gradient of what one device computes from the mean.

    >>> float(as_of_whole_batch(ops.convert_to_tensor(3.0)))
    3.0
    """
    mean = mean_over_replicas(x)
    return x if mean is x else x + ops.stop_gradient(mean - x)


def sums_of_whole_batch(x: Tensor) -> Tensor:
    """Sums over the pixels of a part of a batch, as those over the whole batch.

    A loss that is a function of such sums is then that of the whole batch on every replica, and the
    mean of its gradients over the replicas is its gradient.

    >>> float(sums_of_whole_batch(ops.convert_to_tensor(3.0)))
    3.0
    """
    mean = mean_over_replicas(x)
    return x if mean is x else _replicas() * (x + ops.stop_gradient(mean - x))


def _replicas() -> float:
    """The number of replicas that compute this step."""
    if keras.backend.backend() == "torch":
        return float(_group().get_world_size())
    import tensorflow as tf

    return float(tf.distribute.get_strategy().num_replicas_in_sync)


# ---------------------------------------------------------------- between processes


def gathered(value: float) -> list[float]:
    """A number of each process, by rank. All of them must call this.

    >>> gathered(2.5)
    [2.5]
    """
    rank, count = process_place()
    if count == 1:
        return [float(value)]
    if keras.backend.backend() == "torch":
        found: list = [None] * count
        _group().all_gather_object(found, float(value))
        return found
    from jax.experimental import multihost_utils

    # As two words: JAX cuts float64 to 32 bits.
    words = np.frombuffer(np.float64(value).tobytes(), "uint32")
    both = np.ascontiguousarray(multihost_utils.process_allgather(words), "uint32")
    return np.frombuffer(both.reshape(count, 2).tobytes(), "float64").tolist()


def wait_for_all() -> None:
    """Wait until all processes are here."""
    gathered(0.0)


# ---------------------------------------------------------------- PyTorch


def average_over_processes(tensors: Sequence[Any]) -> None:
    """Replace tensors of PyTorch by their mean over the processes; integers by their sum."""
    count = _group().get_world_size()

    def average(flat):
        _group().all_reduce(flat)
        if flat.is_floating_point():
            flat /= count

    _exchange(tensors, average)


def sum_over_processes(tensors: Sequence[Any]) -> None:
    """Replace tensors of PyTorch by their sum over the processes."""
    _exchange(tensors, lambda flat: _group().all_reduce(flat))


def take_from_first(tensors: Sequence[Any]) -> None:
    """Replace tensors of PyTorch by those of process 0."""
    _exchange(tensors, lambda flat: _group().broadcast(flat, src=0))


def same_everywhere(description: str) -> bool:
    """Whether all processes of PyTorch have the same text."""
    found: list = [None] * _group().get_world_size()
    _group().all_gather_object(found, description)
    return all(other == found[0] for other in found)


def _exchange(tensors: Sequence[Any], operation: Callable[[Any], None]) -> None:
    """Apply an operation to tensors, many of them at a time, in an order that all share."""
    import torch

    with torch.no_grad():
        for dtype in (torch.float32, torch.float64, torch.int64):
            own = [t for t in tensors if _wide(t) is dtype]
            for bucket in _buckets(own):
                flat = torch.cat([t.detach().reshape(-1).to(dtype) for t in bucket])
                operation(flat)
                for t, part in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
                    t.detach().copy_(part.reshape(t.shape))


def _wide(tensor: Any) -> Any:
    """The type in which a tensor travels: sums of 16 bits would lose digits."""
    import torch

    if not tensor.is_floating_point():
        return torch.int64
    return torch.float64 if tensor.dtype is torch.float64 else torch.float32


def _buckets(tensors: Sequence[Any]) -> Iterator[list]:
    bucket: list = []
    size = 0
    for tensor in tensors:
        if bucket and size + tensor.numel() > _BUCKET:
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.numel()
    if bucket:
        yield bucket


def checksum(arrays: Sequence[Array]) -> float:
    """A number that differs if arrays do, up to rare chance.

    >>> checksum([np.array([1.0, 2.0])]) == checksum([np.array([2.0, 1.0])])
    False
    """
    total = 0.0
    for array in arrays:
        flat = np.asarray(array, "float64").ravel()
        total = 0.5 * total + float(flat @ np.cos(np.arange(len(flat))))
    return total
