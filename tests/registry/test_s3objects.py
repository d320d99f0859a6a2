"""The fast way to records: over TLS, with credentials that change, and with keys that are none."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from registry.aws import Clients
from registry.errors import InvalidInput, Unavailable
from registry.s3 import S3Store
from registry.s3objects import is_plain, store_of


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    signed_by: list[str]

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        self.signed_by.append(self.headers["Authorization"].partition("Credential=")[2].partition("/")[0])
        self.send_response(200)
        for name, value in {
            "ETag": '"1"',
            "Last-Modified": "Wed, 25 Nov 2026 10:00:00 GMT",
            "Content-Length": "2",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"hi")


def certificates(folder: Path) -> tuple[Path, Path]:
    """An authority's certificate, and a server's with its key, that the authority signed."""
    now = datetime.now(UTC)

    def made(name: str, issuer: str, key: Any, signer: Any, extension: Any) -> x509.Certificate:
        builder = x509.CertificateBuilder(
            issuer_name=x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]),
            subject_name=x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]),
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - timedelta(days=1),
            not_valid_after=now + timedelta(days=1),
        )
        return builder.add_extension(extension, critical=True).sign(signer, hashes.SHA256())

    authority, server = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = made("root", "root", authority, authority, x509.BasicConstraints(ca=True, path_length=0))
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    leaf = made("server", "root", server, authority, names)
    pem = serialization.Encoding.PEM
    key = server.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    bundle, chain = folder / "bundle.pem", folder / "server.pem"
    bundle.write_bytes(root.public_bytes(pem))
    chain.write_bytes(leaf.public_bytes(pem) + key)
    return bundle, chain


@pytest.fixture
def seen() -> list[str]:
    """Whose credentials signed each request."""
    return []


@pytest.fixture
def server(seen: list[str]) -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), type("Handler", (Answers,), {"signed_by": seen}))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, server: HTTPServer) -> pytest.MonkeyPatch:
    for name in ("AWS_CA_BUNDLE", "AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "FIRST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{server.server_port}")
    return monkeypatch


def test_a_private_authority_is_trusted_where_the_environment_names_it(
    environment: pytest.MonkeyPatch, server: HTTPServer, tmp_path: Path, no_waits: None
) -> None:
    bundle, chain = certificates(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    environment.setenv("AWS_ENDPOINT_URL_S3", f"https://127.0.0.1:{server.server_port}")
    with pytest.raises(Unavailable, match="SSLError"):
        S3Store(Clients(), "registry").get("key")
    environment.setenv("AWS_CA_BUNDLE", str(bundle))
    assert S3Store(Clients(), "registry").get("key") == (b"hi", '"1"')
    environment.setenv("AWS_CA_BUNDLE", str(tmp_path / "nothing.pem"))
    with pytest.raises(InvalidInput, match="AWS_CA_BUNDLE"):
        S3Store(Clients(), "registry").get("key")


def test_requests_are_signed_with_the_credentials_of_the_environment(
    environment: pytest.MonkeyPatch, seen: list[str]
) -> None:
    assert S3Store(Clients(), "registry").get("key") == (b"hi", '"1"')
    assert seen == ["FIRST"]


@pytest.mark.parametrize(
    ("endpoint", "bucket", "virtual"),
    [
        ("https://s3.eu-west-1.amazonaws.com", "registry", True),
        ("https://s3.cn-north-1.amazonaws.com.cn", "registry", True),
        ("https://s3.eu-west-1.amazonaws.com", "with.dots", False),
        ("https://minio.example.com", "registry", False),
        ("http://127.0.0.1:9000", "registry", False),
    ],
)
def test_on_aws_the_bucket_is_in_the_hosts_name_and_elsewhere_in_the_path(
    environment: pytest.MonkeyPatch, endpoint: str, bucket: str, virtual: bool
) -> None:
    environment.setenv("AWS_ENDPOINT_URL_S3", endpoint)
    made = store_of(Clients(), bucket)
    assert made.config["virtual_hosted_style_request"] == str(virtual).lower()
    assert made.config["endpoint"] == (endpoint.replace("://", f"://{bucket}.") if virtual else endpoint)


@pytest.mark.parametrize(
    ("key", "plain"),
    [
        ("a", True),
        ("models/fraud/log/9999999998-1.json", True),
        ("a b/é%20.json", True),
        ("..a/.b", True),
        ("", False),
        ("a/", False),
        ("/a", False),
        ("a//b", False),
        ("a/../b", False),
        ("./a", False),
        ("a/.", False),
        ("a\n", False),
    ],
)
def test_keys_that_would_become_others_are_none(key: str, plain: bool) -> None:
    assert is_plain(key) is plain


@pytest.mark.parametrize("key", ["a/", "a//b", "a/../b"])
def test_nothing_is_written_or_read_under_a_key_that_would_become_another(
    environment: pytest.MonkeyPatch, seen: list[str], key: str
) -> None:
    store = S3Store(Clients(), "registry")
    with pytest.raises(InvalidInput, match="would be written under another key"):
        store.create(key, b"x")
    with pytest.raises(InvalidInput, match="would be written under another key"):
        store.replace(key, b"x", '"1"')
    assert store.get(key) is None
    assert seen == []
