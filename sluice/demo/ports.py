"""Free ports on loopback, in the pairs that SeaweedFS wants."""

from __future__ import annotations

import secrets
import socket

from registry.errors import Unavailable

GRPC_OFFSET = 10_000
"""SeaweedFS dials its admin server's gRPC at the HTTP port plus this, whatever it is told."""

# Both ranges lie below the ports that Linux (32768 up) and macOS (49152 up) hand out to clients by themselves.
_FIRST, _LAST = 12_000, 22_000
_TRIES = 2_000


def free_pairs(count: int) -> tuple[int, ...]:
    """Pick `count` different ports p where p and p + GRPC_OFFSET are both free on 127.0.0.1.

    They are chosen at random, so that two stacks started at once seldom meet; nothing holds them until they are
    bound, so the caller tries again when it lost the race. Raises Unavailable when there are none left.
    """
    found: set[int] = set()
    for _ in range(_TRIES):
        if len(found) == count:
            return tuple(found)
        port = _FIRST + secrets.randbelow(_LAST - _FIRST)
        if port not in found and _free(port) and _free(port + GRPC_OFFSET):
            found.add(port)
    raise Unavailable(
        f"There are no {count} free ports between {_FIRST} and {_LAST + GRPC_OFFSET} on 127.0.0.1: end what uses them."
    )


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
