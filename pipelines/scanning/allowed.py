"""The globals that a pickle of weights may name: such as do no harm whatever they are called with.

PyTorch's own list for `torch.load(weights_only=True)` is the model (PyTorch, torch/_weights_only_unpickler.py,
`_get_allowed_globals`), with numpy's arrays and what TorchScript's pickler writes (torch/csrc/jit/serialization/
pickler.cpp). `torch.storage._load_from_bytes`, which unpickles its argument, is missing for good reason.
"""

from __future__ import annotations

import re

from registry.facts import Severity


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_STORAGES = _words(
    "Double Float Half Long Int Short Char Byte Bool BFloat16 ComplexDouble ComplexFloat QUInt8 QInt8 QInt32 QUInt4x2"
    " QUInt2x4"
)
_DTYPES = _words(
    "bool uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 float32 float64 bfloat16 complex32 complex64"
    " complex128 half float double short int long cfloat cdouble chalf quint8 qint8 qint32 quint4x2 quint2x4"
    " float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu float4_e2m1fn_x2"
    " per_tensor_affine per_tensor_symmetric per_channel_affine per_channel_symmetric"
    " per_channel_affine_float_qparams strided sparse_coo preserve_format contiguous_format channels_last"
)
_REBUILDERS = _words(
    "parameter parameter_with_state tensor tensor_v2 tensor_v3 qtensor sparse_tensor meta_tensor_no_storage"
    " nested_tensor wrapper_subclass device_tensor_from_numpy device_tensor_from_cpu_tensor"
)

_PLAIN: dict[str, tuple[str, ...]] = {
    "collections": ("OrderedDict", "Counter", "defaultdict", "deque"),
    "torch": (*(f"{name}Storage" for name in _STORAGES), *_DTYPES, "Size", "Tensor", "device"),
    "torch.cuda": tuple(f"{name}{kind}" for name in _STORAGES for kind in ("Storage", "Tensor")),
    "torch.storage": ("TypedStorage", "UntypedStorage", "_TypedStorage", "_UntypedStorage"),
    "torch._utils": tuple(f"_rebuild_{name}" for name in _REBUILDERS),
    "torch._tensor": ("_rebuild_from_type_v2",),
    "torch.nn.parameter": ("Parameter", "Buffer"),
    "torch.serialization": ("_get_layout",),
    "torch.jit._pickle": (
        *("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist"),
        *("build_tensor_from_id", "restore_type_tag"),
    ),
    "_codecs": ("encode",),
    "builtins": _words("set frozenset list dict tuple int float bool str bytes bytearray complex slice range"),
    "numpy": ("ndarray", "dtype"),
    **{f"{core}.multiarray": ("_reconstruct",) for core in ("numpy.core", "numpy._core")},
    **{f"{core}.numeric": ("_frombuffer",) for core in ("numpy.core", "numpy._core")},
}
_ODD: dict[str, tuple[str, ...]] = {
    **{f"{core}.multiarray": ("scalar",) for core in ("numpy.core", "numpy._core")},
    "numpy.random._pickle": ("__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor"),
    "argparse": ("Namespace",),
    "datetime": ("datetime", "date", "time", "timedelta", "timezone"),
    "decimal": ("Decimal",),
    "fractions": ("Fraction",),
    "pathlib": ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath", "PurePath"),
}
"""Harmless, but no weights, so torch refuses them or warns."""
_OLD_BUILTINS = "__builtin__"
"""What Python 2 and the pickle protocols up to 2 call `builtins`."""
_SCRIPT_CLASS = re.compile(r"__torch__(\.\w+)*")


def _severities() -> dict[tuple[str, str], Severity | None]:
    known = dict[tuple[str, str], Severity | None]()
    for table, severity in ((_PLAIN, None), (_ODD, Severity.WARNING)):
        known |= {(module, name): severity for module, names in table.items() for name in names}
    known |= {(_OLD_BUILTINS, name): None for name in _PLAIN["builtins"]}
    return known


ALLOWED = _severities()
"""Module and name of what a pickle may name and call: None where it belongs to weights, else how odd it is."""


def script_class(module: str, name: str) -> bool:
    """Whether a global is a class of a TorchScript archive: code in the archive itself, which Python cannot import."""
    return _SCRIPT_CLASS.fullmatch(module) is not None and name.isidentifier()
