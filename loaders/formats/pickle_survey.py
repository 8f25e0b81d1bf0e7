"""What a pickle of weights would make, found without running it.

A pickle is a program for a small stack machine. torch's `weights_only` reader runs it with few allowed calls, and a
few bytes of it still make gigabytes, or keep it busy for ever: it allocates the storages that a program claims, and
hashes keys by recursion in C. So the program is walked here first, over stand-ins for its values, and must be what
`torch.save` writes of dicts, lists, numbers, texts and tensors.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from .limits import MAX_PROGRAM_DEPTH, MAX_PROGRAM_VALUES

_STORAGE_BYTES = {
    **{"Bool": 1, "Byte": 1, "Char": 1, "Short": 2, "Half": 2, "BFloat16": 2},
    **{"Int": 4, "Float": 4, "Long": 8, "Double": 8},
}
_STORAGES = {f"torch {kind}Storage": count for kind, count in _STORAGE_BYTES.items()}
_PLACE = ("storage", "int", "tuple", "tuple")  # of a tensor: its storage, where it begins, its sizes and strides
_CALLS = {  # and the kinds of what each is called with
    "torch._utils _rebuild_tensor": (_PLACE,),
    "torch._utils _rebuild_tensor_v2": ((*_PLACE, "bool", "dict"), (*_PLACE, "bool", "dict", "dict")),
    "torch._utils _rebuild_parameter": (("tensor", "bool", "dict"),),
}
_ORDERED, _SIZE = "collections OrderedDict", "torch Size"
# All that a state dict's program names. `weights_only` knows more, and with some of it (`bytearray`, `encode`) a few
# bytes make as many gigabytes as they like.
_NAMES = {_ORDERED, _SIZE, *_CALLS, *_STORAGES}
_MAX_INTEGER = 2**63  # a tensor's sizes and places are 64-bit; hashing a longer one takes its time
_OBJECTS = ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4")
_INTEGERS = ("BININT", "BININT1", "BININT2", "LONG1")
_TEXTS = ("BINUNICODE", "SHORT_BINSTRING")  # the second is Python 2's
_PLAIN = {"NONE": "none", "NEWTRUE": "bool", "NEWFALSE": "bool", "BINFLOAT": "float", "EMPTY_TUPLE": "tuple"}
_EMPTY = {"EMPTY_LIST": "list", "EMPTY_DICT": "dict"}


class SurveyError(ValueError):
    """A program that no state dict has. The message says why, in half a sentence."""


class ForeignCallError(SurveyError):
    """A program that names or makes more than tensors."""


@dataclass(eq=False, slots=True)
class Value:
    """A stand-in for what the program would make.

    Attributes:
        kind: none, bool, int, float, text, name, tuple, list, dict, storage or tensor.
        content: the number, text or name, the parts of a tuple or list, the keys of a dict, how many numbers a
            storage has.
        size: values in it, those it holds several times counted as often, and the letters of its texts.
        depth: how deeply it is nested.
        held: whether another holds it. It is complete then: filled later, it would be larger than was counted.
    """

    kind: str
    content: Any = ()
    size: int = 1
    depth: int = 0
    held: bool = False


@dataclass(frozen=True)
class Survey:
    """What one pickle would make.

    Attributes:
        result: its value.
        storages: the names of the storages it asks for: how many numbers of how many bytes each.
    """

    result: Value
    storages: dict[str, tuple[int, int]]


def survey(program: BinaryIO) -> Survey:
    """Walk the pickle that begins where `program` stands, and leave it behind the pickle's end.

    Raises SurveyError for a pickle that is broken or that no `torch.save` of tensors writes, ForeignCallError for one
    that names more than tensors.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(program):
            machine.step(opcode.name, argument)
        return Survey(machine.top("dict", "list"), machine.storages)
    except SurveyError:
        raise
    except (ValueError, KeyError, IndexError) as e:  # a text that is none is a ValueError too
        raise SurveyError("its pickle is broken") from e


class _Machine:
    """The stack, the marks and the memo of torch's `weights_only` reader (`torch/_weights_only_unpickler.py`)."""

    def __init__(self) -> None:
        self.stack: list[Value] = []
        self.marks: list[list[Value]] = []
        self.memo: dict[int, Value] = {}
        self.storages: dict[str, tuple[int, int]] = {}

    def step(self, name: str, argument: Any) -> None:
        if name in _INTEGERS:
            if not -_MAX_INTEGER <= argument < _MAX_INTEGER:
                raise SurveyError("a number in it has over 64 bits")
            self.stack.append(Value("int", argument))
        elif name in _TEXTS:
            self.stack.append(Value("text", argument, 1 + len(argument)))
        elif name in _PLAIN:
            self.stack.append(_SHARED[name])
        elif name in _EMPTY:
            self.stack.append(Value(_EMPTY[name]))
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "GLOBAL":
            if argument not in _NAMES:
                raise ForeignCallError(f"it names {argument}")
            self.stack.append(Value("name", argument))
        elif name in _OBJECTS:
            raise ForeignCallError("it makes objects")
        elif name in _STEPS:
            _STEPS[name](self)
        elif name not in ("PROTO", "STOP"):
            raise SurveyError(f"it uses {name}, which PyTorch does not write")

    def top(self, *kinds: str) -> Value:
        value = self.stack[-1]
        if value.kind not in kinds:
            raise SurveyError(f"a {value.kind} stands where a {' or '.join(kinds)} belongs")
        return value

    def pop(self, *kinds: str) -> Value:
        value = self.top(*kinds) if kinds else self.stack[-1]
        self.stack.pop()
        return value

    def mark(self) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def to_mark(self) -> list[Value]:
        parts, self.stack = self.stack, self.marks.pop()
        return parts

    def last(self, count: int) -> list[Value]:
        if len(self.stack) < count:
            raise SurveyError("its pickle is broken")
        parts = self.stack[-count:]
        del self.stack[-count:]
        return parts

    def tuple_of(self, parts: Sequence[Value]) -> None:
        made = Value("tuple", tuple(parts))
        _hold(made, parts)
        self.stack.append(made)

    def append(self, parts: Sequence[Value]) -> None:
        target = self.top("list")
        _hold(target, parts)
        target.content = target.content or []
        target.content.extend(parts)

    def set_items(self, parts: Sequence[Value]) -> None:
        if len(parts) % 2:
            raise SurveyError("its pickle is broken")
        target = self.top("dict")
        _check_keys(parts[::2])
        _hold(target, parts)
        target.content = target.content or []
        target.content.extend(key.content for key in parts[::2])

    def reduce(self) -> None:
        arguments = self.pop("tuple")
        name, parts = self.pop("name").content, arguments.content
        made = Value("dict" if name == _ORDERED else "tuple" if name == _SIZE else "tensor")
        if name == _ORDERED:
            made.content = _keys_of_pairs(parts)
        elif name == _SIZE and len(parts) == 1 and parts[0].kind == "tuple":
            made.content = parts[0].content
        elif tuple(part.kind for part in parts) not in _CALLS.get(name, ()):
            raise ForeignCallError(f"it calls {name} as no state dict does")
        elif parts[0].kind == "storage":
            _check_tensor(*(part.content for part in parts[:4]))
        _hold(made, parts)
        self.stack.append(made)

    def build(self) -> None:
        """Set attributes of the dict below: torch keeps `_metadata` there. Any other might hide a method."""
        state = self.pop("dict")
        target = self.top("dict")
        if state.content != ["_metadata"]:
            raise SurveyError("it sets attributes of a dict")
        _hold(target, [state])

    def persistent(self) -> None:
        """Push a storage: ("storage", its class, name, device, numbers), and of the old format a view, always none."""
        given = self.pop("tuple").content
        kinds = tuple(part.kind for part in given)
        if kinds[:5] != ("text", "name", "text", "text", "int") or kinds[5:] not in ((), ("none",)):
            raise SurveyError("it asks for something that is no storage")
        tag, kind, name, _, count = (part.content for part in given[:5])
        if tag != "storage" or kind not in _STORAGES or count < 0:
            raise SurveyError("it asks for something that is no storage")
        sizes = (count, _STORAGES[kind])
        if self.storages.setdefault(name, sizes) != sizes:
            raise SurveyError("it asks for one storage in two sizes")
        self.stack.append(Value("storage", count))


def _hold(target: Value, parts: Iterable[Value]) -> None:
    """Put parts into a value, counting them."""
    if target.held:
        raise SurveyError("it fills a value that another holds already")
    for part in parts:
        if part is target:
            raise SurveyError("a value in it holds itself")
        part.held = True
        target.size += part.size
        target.depth = max(target.depth, part.depth + 1)
    if target.depth > MAX_PROGRAM_DEPTH:
        raise SurveyError("its values are nested too deeply")
    if target.size > MAX_PROGRAM_VALUES:
        raise SurveyError("its values repeat each other too often")


def _check_keys(keys: Iterable[Value]) -> None:
    if any(key.kind not in ("text", "int") for key in keys):
        raise SurveyError("a key in it is neither a text nor a number")


def _check_tensor(count: int, first: int, sizes: Sequence[Value], strides: Sequence[Value]) -> None:
    """Raise SurveyError unless a tensor lies within a storage of `count` numbers: torch would make it larger."""
    if any(part.kind != "int" or part.content < 0 for part in (*sizes, *strides)) or len(sizes) != len(strides):
        raise SurveyError("a tensor in it has no shape")
    steps = [(size.content - 1) * stride.content for size, stride in zip(sizes, strides, strict=True)]
    empty = any(size.content == 0 for size in sizes)
    if first < 0 or (not empty and first + sum(steps) >= count):
        raise SurveyError("a tensor in it is larger than what is stored of it")


def _keys_of_pairs(parts: Sequence[Value]) -> list[object]:
    """Return the keys that OrderedDict is called with: none, or, in Python 2, those of a list of pairs."""
    if not parts:
        return []
    pairs = parts[0].content if len(parts) == 1 and parts[0].kind == "list" else (Value("none"),)
    if any(pair.kind not in ("list", "tuple") or len(pair.content) != 2 for pair in pairs):
        raise ForeignCallError("it calls OrderedDict as no state dict does")
    _check_keys(pair.content[0] for pair in pairs)
    return [pair.content[0].content for pair in pairs]


_SHARED = {name: Value(kind, held=True) for name, kind in _PLAIN.items()}
_STEPS: dict[str, Callable[[_Machine], None]] = {
    "MARK": _Machine.mark,
    "TUPLE": lambda m: m.tuple_of(m.to_mark()),
    "TUPLE1": lambda m: m.tuple_of(m.last(1)),
    "TUPLE2": lambda m: m.tuple_of(m.last(2)),
    "TUPLE3": lambda m: m.tuple_of(m.last(3)),
    "APPEND": lambda m: m.append(m.last(1)),
    "APPENDS": lambda m: m.append(m.to_mark()),
    "SETITEM": lambda m: m.set_items(m.last(2)),
    "SETITEMS": lambda m: m.set_items(m.to_mark()),
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
