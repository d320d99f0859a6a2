"""What a pickle would do, told from its opcodes without doing any of it.

The opcodes are Python's (pickletools, "Pickle Virtual Machine"). The machine keeps of each value only whether it is a
string or a global, since that decides what is imported and called: eight bytes for each value whatever its size, and
nothing grows, as no list is ever filled and no call is made.
"""

from __future__ import annotations

import pickle
import pickletools
from array import array
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, NamedTuple

from pipelines.scanning.findings import Budget

_VALUE, _MARK, _GLOBAL = -1, -2, -3
"""On the stack: any value, a mark, the global number n as _GLOBAL - n; a string is the place of its opcode, from 0."""
_NAME_MAX = 512
_STRINGS = frozenset(
    ("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING")
)


class Unreadable(Exception):
    """The bytes are no pickle that the unpickler reads to its end, or none that a pickler writes."""


class _Effect(NamedTuple):
    """What an opcode takes from the stack and puts there."""

    pops: int
    to_mark: bool
    pushes: int


def _effect(opcode: pickletools.OpcodeInfo) -> _Effect:
    before, after = opcode.stack_before, opcode.stack_after
    to_mark = pickletools.markobject in before
    pops = before.index(pickletools.markobject) if to_mark else len(before)
    return _Effect(pops, to_mark, len(after))


_EFFECTS: Mapping[str, _Effect] = {opcode.name: _effect(opcode) for opcode in pickletools.opcodes}


class Pickles:
    """Reads the pickles of `data`, one after the other.

    `named` is told each global that one names, once, and `odd` what no pickler does with them. The machine stops
    neither for the one nor for the other.
    """

    def __init__(
        self, data: bytes, budget: Budget, named: Callable[[str, str], None], odd: Callable[[str], None]
    ) -> None:
        self._data, self._budget, self._named, self._odd = data, budget, named, odd
        self._file = BytesIO(data)
        self._globals = dict[tuple[str, str], int]()
        self._stack = array("i")
        self._memo, self._remembered = array("i"), 0
        self.opcodes = 0
        self._special: Mapping[str, Callable[[Any, int], None]] = {
            "PROTO": self._protocol,
            "MARK": self._mark,
            "POP": self._any,
            "DUP": self._again,
            "PUT": self._put,
            "BINPUT": self._put,
            "LONG_BINPUT": self._put,
            "MEMOIZE": self._put,
            "GET": self._get,
            "BINGET": self._get,
            "LONG_BINGET": self._get,
            "GLOBAL": self._global,
            "INST": self._inst,
            "STACK_GLOBAL": self._stack_global,
            "EXT1": self._extension,
            "EXT2": self._extension,
            "EXT4": self._extension,
            "REDUCE": self._reduce,
            "NEWOBJ": self._reduce,
            "NEWOBJ_EX": self._newobj_ex,
            "OBJ": self._obj,
            "BUILD": self._build,
        }
        self.called = False
        """Whether one of them calls a global, or sets its state."""

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """Module and name of the globals that were named."""
        return tuple(self._globals)

    @property
    def position(self) -> int:
        """The first byte that was not read."""
        return self._file.tell()

    def one(self) -> None:
        """Read one pickle, up to its STOP.

        Raises:
            Unreadable: there is none.
            Exhausted: it has more opcodes than the budget allows.
        """
        del self._stack[:], self._memo[:]
        self._remembered = 0
        try:
            for opcode, argument, position in pickletools.genops(self._file):
                self.opcodes += 1
                self._budget.step()
                self._step(opcode.name, argument, position or 0)
        except (ValueError, IndexError, OverflowError, MemoryError, DeprecationWarning) as error:
            # pickletools' own complaints, UnicodeDecodeError among them, and a stack or memo that is too short; it
            # warns of escapes that are none, which is an error where the interpreter was told so
            raise Unreadable(str(error)[:100]) from error

    def _step(self, name: str, argument: Any, position: int) -> None:
        special = self._special.get(name)
        if special is not None:
            special(argument, position)
            return
        pops, to_mark, pushes = _EFFECTS[name]
        if to_mark:
            self._to_mark()
        for _ in range(pops):
            self._pop()
        value = position if name in _STRINGS else _VALUE
        for _ in range(pushes):
            self._stack.append(value)

    def _top(self) -> int:
        value = self._stack[-1]
        if value == _MARK:
            raise ValueError("a mark stands where a value should")
        return value

    def _pop(self) -> int:
        value = self._top()
        self._stack.pop()
        return value

    def _to_mark(self) -> int:
        """Drop all down to the last mark, and it; gives the lowest value above it, or _VALUE where there was none."""
        lowest = _VALUE
        while (value := self._stack.pop()) != _MARK:
            lowest = value
        return lowest

    def _protocol(self, argument: Any, _position: int) -> None:
        if argument > pickle.HIGHEST_PROTOCOL:
            raise ValueError("there is no such protocol")

    def _mark(self, _argument: Any, _position: int) -> None:
        self._stack.append(_MARK)

    def _any(self, _argument: Any, _position: int) -> None:
        self._stack.pop()

    def _again(self, _argument: Any, _position: int) -> None:
        self._stack.append(self._top())

    def _put(self, argument: Any, _position: int) -> None:
        # MEMOIZE counts what is remembered, and so may write over something where numbers were left out before
        at = self._remembered if argument is None else int(argument)
        value = self._top()
        if not 0 <= at < 2 * len(self._memo) + 1024:  # picklers count up, from 0 or 1
            raise ValueError("the memo has gaps")
        self._memo.extend([_MARK] * (at + 1 - len(self._memo)))
        self._remembered += self._memo[at] == _MARK
        self._memo[at] = value

    def _get(self, argument: Any, _position: int) -> None:
        at = int(argument)
        value = self._memo[at] if at >= 0 else _MARK
        if value == _MARK:
            raise ValueError("nothing is under that number in the memo")
        self._stack.append(value)

    def _global(self, _argument: Any, position: int) -> None:
        # the lines as they are: pickletools joins them by a blank, which they may hold too, and reads escapes
        end = self._data.index(b"\n", position + 1)
        module, name = self._data[position + 1 : end], self._data[end + 1 : self._data.index(b"\n", end + 1)]
        self._stack.append(self._name(module.decode(), name.decode()))

    def _inst(self, argument: Any, position: int) -> None:
        self._to_mark()
        self._global(argument, position)
        self._call(self._stack.pop())

    def _stack_global(self, _argument: Any, _position: int) -> None:
        name, module = self._pop(), self._pop()
        if name < 0 or module < 0:
            self._odd("names a global by values that are no strings")
            self._stack.append(_VALUE)
            return
        self._stack.append(self._name(self._string(module), self._string(name)))

    def _extension(self, _argument: Any, _position: int) -> None:
        self._odd("names a global by a number of copyreg's")
        self._stack.append(_VALUE)

    def _reduce(self, _argument: Any, _position: int) -> None:
        self._pop()
        self._call(self._pop())

    def _newobj_ex(self, argument: Any, position: int) -> None:
        self._pop()
        self._reduce(argument, position)

    def _obj(self, _argument: Any, _position: int) -> None:
        self._call(self._to_mark())

    def _build(self, _argument: Any, _position: int) -> None:
        self._pop()
        if self._top() <= _GLOBAL:
            self.called = True
            self._odd("changes a global itself")

    def _call(self, value: int) -> None:
        self.called = True
        if value > _GLOBAL:
            self._odd("calls something that is no global")
        self._stack.append(_VALUE)

    def _name(self, module: str, name: str) -> int:
        key = (module[:_NAME_MAX], name[:_NAME_MAX])
        number = self._globals.get(key)
        if number is None:
            if len(self._globals) >= _NAME_MAX:
                raise ValueError(f"it names more than {_NAME_MAX} globals")
            number = self._globals[key] = len(self._globals)
            self._named(*key)
        return _GLOBAL - number

    def _string(self, position: int) -> str:
        """The string whose opcode stands there."""
        _, value, _ = next(pickletools.genops(BytesIO(self._data[position : position + _NAME_MAX * 4 + 9])))
        return str(value)
