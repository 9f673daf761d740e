"""Pickles as data: a machine for their opcodes that can call nothing.

Python's own `pickle` imports and calls what a file names. This machine knows numbers, text,
containers and a short table of functions, all of them in `pickled.py` or `pytorch.py`; every other
name is a `Global`, and what would be made by it is an `Opaque`, which takes anything and does
nothing.
"""

import codecs
import struct
from collections.abc import Callable
from typing import Any

from keras_dense._weights.formats.file import Broken
from keras_dense._weights.formats.pickled import (
    CALLS,
    Calls,
    Dtype,
    Global,
    Ndarray,
    Opaque,
    is_key,
)


def load(
    data: Any,
    start: int = 0,
    *,
    calls: Calls | None = None,
    persistent: Callable[[Any], Any] | None = None,
) -> tuple[Any, int]:
    """Read one pickle.

    Args:
        data: bytes or a memory map.
        start: int, where it begins.
        calls: functions that stand for names, beside `CALLS`.
        persistent: function from a persistent id to what it stands for.

    Returns:
        What was pickled, and where the next begins.

    Raises:
        Broken: for a pickle that is truncated or damaged.

    >>> import os, pickle
    >>> load(pickle.dumps({"a": [1, 2.5], "b": os.system}))[0]
    {'a': [1, 2.5], 'b': Global(module='posix', name='system')}
    """
    machine = Machine(data, start, {**CALLS, **(calls or {})}, persistent)
    try:
        return machine.run(), machine.at
    except _FAULTS as error:
        if isinstance(error, Broken):
            raise
        raise Broken(f"is damaged: its pickle has a fault at byte {machine.at}") from error


_FAULTS = (
    AttributeError,
    LookupError,
    OverflowError,
    TypeError,
    ValueError,
    struct.error,
)


class Machine:
    """The stack, the marks and the memo of one pickle."""

    def __init__(self, data: Any, start: int, calls: Calls, persistent: Any) -> None:
        self.data, self.at, self.calls = data, start, calls
        self.persistent = persistent or (lambda identity: Opaque("persistent id"))
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        while True:
            code = self.take(1)
            if code == b".":
                return self.stack.pop()
            act = _OPCODES.get(code)
            if act is None:
                raise Broken(f"is damaged, or no pickle: opcode {code!r} at byte {self.at - 1}")
            act(self)

    def take(self, count: int) -> bytes:
        found = self.data[self.at : self.at + count]
        if count < 0 or len(found) != count:
            raise Broken("is truncated: it ends in the middle of a pickle. Download it again")
        self.at += count
        return found

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.at)
        found = self.take(end - self.at)
        self.at += 1
        return found

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def above_mark(self) -> list[Any]:
        start = self.marks.pop()
        found = self.stack[start:]
        del self.stack[start:]
        return found

    def call(self, function: Any, arguments: Any) -> None:
        if not isinstance(function, Global):
            self.push(Opaque("the result of a call"))
            return
        known = self.calls.get(function)
        if known is None or not isinstance(arguments, tuple):
            self.push(Opaque(str(function)))
            return
        self.push(known(*arguments))

    def build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, Opaque):
            made.state = state
        elif isinstance(made, Ndarray):
            _, made.shape, made.dtype, made.fortran, made.raw = state
        elif isinstance(made, Dtype) and isinstance(state, tuple) and len(state) > 1:
            made.order = state[1]

    def extend(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(values)

    def update(self, values: list[Any]) -> None:
        target = self.stack[-1]
        target = target.items if isinstance(target, Opaque) else target
        if isinstance(target, dict):
            for key, value in zip(values[::2], values[1::2], strict=True):
                if is_key(key):
                    target[key] = value

    def add(self, values: list[Any]) -> None:
        if isinstance(self.stack[-1], set):
            self.stack[-1].update(value for value in values if is_key(value))

    def pop(self) -> None:
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def tuple_of(self, count: int) -> None:
        if len(self.stack) < count:
            raise IndexError
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def dict_of(self) -> None:
        values = self.above_mark()
        self.push({})
        self.update(values)

    def extension(self, size: int) -> None:
        self.take(size)
        self.push(Opaque("an extension"))

    def make(self, values: list[Any]) -> None:
        self.call(values[0], tuple(values[1:]))

    def instance(self) -> None:
        function = Global(_text(self.line()), _text(self.line()))
        self.call(function, tuple(self.above_mark()))

    def new_with_keywords(self) -> None:
        self.stack.pop()
        self.reduce()

    def reduce(self) -> None:
        arguments = self.stack.pop()
        self.call(self.stack.pop(), arguments)

    def global_of_stack(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.push(Global(str(module), str(name)) if isinstance(name, str) else Opaque("a name"))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


def _long(raw: bytes) -> int:
    return int.from_bytes(raw, "little", signed=True)


def _integer(raw: bytes) -> int | bool:
    if raw in (b"00", b"01"):  # False and True of protocol 0.
        return raw == b"01"
    return int(raw.rstrip(b"L"))


def _old_string(raw: bytes) -> str:
    return codecs.escape_decode(raw[1:-1])[0].decode("latin1")  # type: ignore[attr-defined]


def _latin(raw: bytes) -> str:
    return raw.decode("latin1")


def _sized(form: str, convert: Callable[[bytes], Any]) -> Callable[[Machine], None]:
    return lambda m: m.push(convert(m.take(m.number(form))))


_M = Machine
_OPCODES: dict[bytes, Callable[[Machine], Any]] = {
    b"\x80": lambda m: m.take(1),
    b"\x95": lambda m: m.take(8),
    b"(": lambda m: m.marks.append(len(m.stack)),
    b"0": _M.pop,
    b"1": _M.above_mark,
    b"2": lambda m: m.push(m.stack[-1]),
    # Numbers.
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": lambda m: m.push(_integer(m.line())),
    b"L": lambda m: m.push(_integer(m.line())),
    b"F": lambda m: m.push(float(m.line())),
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"G": lambda m: m.push(m.number(">d")),
    b"\x8a": _sized("<B", _long),
    b"\x8b": _sized("<i", _long),
    # Text and bytes; that of Python 2 is either.
    b"S": lambda m: m.push(_old_string(m.line())),
    b"V": lambda m: m.push(m.line().decode("raw-unicode-escape")),
    b"T": _sized("<i", _latin),
    b"U": _sized("<B", _latin),
    b"X": _sized("<I", _text),
    b"\x8c": _sized("<B", _text),
    b"\x8d": _sized("<Q", _text),
    b"B": _sized("<I", bytes),
    b"C": _sized("<B", bytes),
    b"\x8e": _sized("<Q", bytes),
    b"\x96": _sized("<Q", bytes),
    # Containers.
    b"]": lambda m: m.push([]),
    b"}": lambda m: m.push({}),
    b")": lambda m: m.push(()),
    b"\x8f": lambda m: m.push(set()),
    b"l": lambda m: m.push(m.above_mark()),
    b"t": lambda m: m.push(tuple(m.above_mark())),
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"\x91": lambda m: m.push({x for x in m.above_mark() if is_key(x)}),
    b"d": _M.dict_of,
    b"a": lambda m: m.extend([m.stack.pop()]),
    b"e": lambda m: m.extend(m.above_mark()),
    b"s": lambda m: m.update([m.stack.pop(-2), m.stack.pop()]),
    b"u": lambda m: m.update(m.above_mark()),
    b"\x90": lambda m: m.add(m.above_mark()),
    # The memo.
    b"g": lambda m: m.push(m.memo[int(m.line())]),
    b"h": lambda m: m.push(m.memo[m.number("<B")]),
    b"j": lambda m: m.push(m.memo[m.number("<I")]),
    b"p": lambda m: m.memo.__setitem__(int(m.line()), m.stack[-1]),
    b"q": lambda m: m.memo.__setitem__(m.number("<B"), m.stack[-1]),
    b"r": lambda m: m.memo.__setitem__(m.number("<I"), m.stack[-1]),
    b"\x94": lambda m: m.memo.__setitem__(len(m.memo), m.stack[-1]),
    # Names, and calls of what they name.
    b"c": lambda m: m.push(Global(_text(m.line()), _text(m.line()))),
    b"\x93": _M.global_of_stack,
    b"R": _M.reduce,
    b"\x81": _M.reduce,
    b"\x92": _M.new_with_keywords,
    b"b": _M.build,
    b"o": lambda m: m.make(m.above_mark()),
    b"i": _M.instance,
    b"P": lambda m: m.push(m.persistent(_text(m.line()))),
    b"Q": lambda m: m.push(m.persistent(m.stack.pop())),
    b"\x82": lambda m: m.extension(1),
    b"\x83": lambda m: m.extension(2),
    b"\x84": lambda m: m.extension(4),
}
