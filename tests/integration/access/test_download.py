"""Fetching an issuer's documents from servers that are hostile, slow, or not who they say they are."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from torchgate.access.identity.download import MAX_DOCUMENT_BYTES, Downloader
from torchgate.access.identity.published_keys import KeysUnreadable

JSON = ("application/json",)
Serve = Callable[[asyncio.StreamWriter], Awaitable[None]]


def head(*lines: str, status: str = "200 OK", length: int | None = 2) -> bytes:
    """The head of an answer."""
    given = [f"HTTP/1.1 {status}", *(lines or ("Content-Type: application/json",))]
    given += [] if length is None else [f"Content-Length: {length}"]
    return "\r\n".join([*given, "", ""]).encode()


@asynccontextmanager
async def server(answer: bytes | Serve, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server on loopback that answers every request so; its address without scheme."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            if callable(answer):
                await answer(writer)
            else:
                writer.write(answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"127.0.0.1:{listening.sockets[0].getsockname()[1]}/keys?a=1"
    finally:
        listening.close()


async def test_a_document_is_fetched_as_it_is() -> None:
    for lines in ((), ("Content-Type: application/json; charset=utf-8",)):
        async with server(head(*lines) + b"{}") as address:
            assert await Downloader().fetch(f"http://{address}", JSON) == b"{}"
    async with server(head(length=None) + b"{}") as address:
        assert await Downloader().fetch(f"http://{address}", JSON) == b"{}"


BAD = {
    "not HTTP": (b"SSH-2.0-OpenSSH\r\n\r\n", "BadStatusLine"),
    "nothing": (b"", "RemoteDisconnected|Connection"),
    "a redirect": (head("Location: https://evil.example/keys", status="302 Found"), "status 302"),
    "a permanent redirect": (head("Location: /other", status="308 Permanent Redirect"), "status 308"),
    "an error": (head(status="500 Oops"), "status 500"),
    "HTML": (head("Content-Type: text/html") + b"{}", "content type 'text/html'"),
    "no content type": (head("X: y") + b"{}", "content type 'text/plain'"),
    "compressed": (head("Content-Type: application/json", "Content-Encoding: gzip") + b"{}", "compressed"),
    "announced too large": (head(length=MAX_DOCUMENT_BYTES + 1), "more than"),
    "too large": (head(length=None) + b" " * (MAX_DOCUMENT_BYTES + 1), "more than"),
    "chunks too large": (
        head("Content-Type: application/json", "Transfer-Encoding: chunked", length=None)
        + b"".join(b"%x\r\n%b\r\n" % (65536, b" " * 65536) for _ in range(9)),
        "more than",
    ),
    "cut short": (head(length=100) + b"{}", "cut short"),
    "a head of a megabyte": (head("X: " + "y" * 1_000_000), "LineTooLong"),
    "ten thousand headers": (head(*(f"X{n}: y" for n in range(10_000))), "HTTPException"),
}


@pytest.mark.parametrize("case", BAD)
async def test_an_answer_that_is_not_the_document_is_a_failure(case: str) -> None:
    answer, failure = BAD[case]
    async with server(answer) as address:
        with pytest.raises(KeysUnreadable, match=failure):
            await Downloader().fetch(f"http://{address}", JSON)


@pytest.mark.parametrize("before", [b"", head(length=1000)], ids=["in its head", "in its body"])
async def test_a_server_that_drips_ends_with_the_time_limit(before: bytes) -> None:
    """Each byte comes within the time limit of one step, and they never end."""

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(before or b"HTTP/1.1 200 OK\r\nX: ")
        while not writer.is_closing():
            writer.write(b"y")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with server(drip) as address:
        downloader = Downloader(total_timeout_s=0.3)
        with pytest.raises(KeysUnreadable, match=r"no whole answer within 0\.3 s"):
            await downloader.fetch(f"http://{address}", JSON)
        async with asyncio.timeout(120):
            while downloader._is_busy:  # noqa: ASYNC110 - the end of another thread
                await asyncio.sleep(0.01)


def certificate(folder: Path, *, name: str = "127.0.0.1", days: int = 1) -> tuple[ssl.SSLContext, Path]:
    """A self-signed certificate for an address, and the file to trust it by."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "rig")])
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(end - datetime.timedelta(days=30))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, both = folder / "ca ä.pem", folder / "server.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    both.write_bytes(pem.read_bytes() + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return context, pem


async def test_https_counts_with_a_trusted_certificate_alone(tmp_path: Path) -> None:
    """The attacker sits between us and the issuer, with a certificate of its own, of another name, or out of date."""
    context, trusted = certificate(tmp_path)
    async with server(head() + b"{}", context) as address:
        assert await Downloader(trusted).fetch(f"https://{address}", JSON) == b"{}"
        with pytest.raises(KeysUnreadable, match=r"SSLCertVerificationError|SSLError"):
            await Downloader().fetch(f"https://{address}", JSON)
    for changes in ({"name": "127.0.0.2"}, {"days": -1}):
        context, trusted = certificate(tmp_path, **changes)  # type: ignore[arg-type]
        async with server(head() + b"{}", context) as address:
            with pytest.raises(KeysUnreadable, match="SSLCertVerificationError"):
                await Downloader(trusted).fetch(f"https://{address}", JSON)
