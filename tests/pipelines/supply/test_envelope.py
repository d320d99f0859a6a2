"""Envelopes: what is signed, and that nothing but it is believed."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.supply.envelope import ENVELOPE_MAX, STATEMENT_TYPE, decoded, seal, unseal
from pipelines.supply.signing import KeySigner
from registry.errors import Refused

STATEMENT = b'{"_type":"https://in-toto.io/Statement/v1"}'


class Telling:
    """Keeps what it is given to sign."""

    def __init__(self, inner: KeySigner) -> None:
        self.public, self._inner, self.seen = inner.public, inner, b""

    def sign(self, payload: bytes) -> bytes:
        self.seen = payload
        return self._inner.sign(payload)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def test_what_is_signed_is_the_specifications(signer: KeySigner) -> None:
    telling = Telling(signer)
    seal(b"hello world", telling)
    assert telling.seen == b"DSSEv1 28 application/vnd.in-toto+json 11 hello world"


def test_an_envelope_is_opened_by_who_trusts_the_key(signer: KeySigner, stranger: KeySigner) -> None:
    sealed = seal(STATEMENT, signer)
    assert unseal(sealed, [stranger.public, signer.public]) == STATEMENT
    assert json.loads(sealed)["payloadType"] == STATEMENT_TYPE
    for keys in ([], [stranger.public]):
        with pytest.raises(Refused, match="No trusted key has signed"):
            unseal(sealed, keys)


def test_one_of_several_signatures_is_enough(signer: KeySigner, stranger: KeySigner) -> None:
    first, second = (json.loads(seal(STATEMENT, one)) for one in (stranger, signer))
    both = {**first, "signatures": [*first["signatures"], *second["signatures"]]}
    assert unseal(json.dumps(both).encode(), [signer.public]) == STATEMENT


@pytest.mark.parametrize("field", ["payload", "payloadType", "signatures"])
def test_nothing_of_it_can_be_changed(signer: KeySigner, field: str) -> None:
    other = {
        "payload": b64(STATEMENT + b" "),
        "payloadType": "application/json",
        "signatures": [{"sig": b64(signer.sign(STATEMENT))}],  # of the bytes alone, without their type
    }
    changed = {**json.loads(seal(STATEMENT, signer)), field: other[field]}
    with pytest.raises(Refused):
        unseal(json.dumps(changed).encode(), [signer.public])


BAD: dict[str, Any] = {
    "no object": [],
    "empty": {},
    "no signature": {"payloadType": STATEMENT_TYPE, "payload": "", "signatures": []},
    "many signatures": {"payloadType": STATEMENT_TYPE, "payload": "", "signatures": [{"sig": ""}] * 17},
    "no base64": {"payloadType": STATEMENT_TYPE, "payload": "*", "signatures": [{"sig": ""}]},
    "no base64 signature": {"payloadType": STATEMENT_TYPE, "payload": "", "signatures": [{"sig": "é"}]},
    "a number": {"payloadType": STATEMENT_TYPE, "payload": 1, "signatures": [{"sig": ""}]},
}


@pytest.mark.parametrize("value", BAD.values(), ids=list(BAD))
def test_what_is_no_envelope_is_refused(value: object, signer: KeySigner) -> None:
    with pytest.raises(Refused):
        unseal(json.dumps(value).encode(), [signer.public])


@pytest.mark.parametrize("data", [b"", b"\xff", b"[" * 200_000, b" " * (ENVELOPE_MAX + 1)])
def test_bytes_of_no_envelope_are_refused(data: bytes, signer: KeySigner) -> None:
    with pytest.raises(Refused):
        unseal(data, [signer.public])


def test_any_change_of_a_byte_is_refused_or_changes_nothing(signer: KeySigner) -> None:
    sealed = seal(STATEMENT, signer)

    @given(at=st.integers(0, len(sealed) - 1), byte=st.integers(0, 255))
    def change(at: int, byte: int) -> None:
        data = bytearray(sealed)
        data[at] = byte
        with suppress(Refused):
            assert unseal(bytes(data), [signer.public]) == STATEMENT

    change()


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    assert decoded(base64.b64encode(data).decode()) == data
    with suppress(Refused):
        decoded(data.decode("latin-1"))
