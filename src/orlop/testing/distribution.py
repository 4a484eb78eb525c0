"""The distribution project's registry as a test server, and a way to fill it.

Runs the program ``docker-registry`` on a free loopback port, with a configuration
and a storage directory of the caller's; uploads blobs and manifests over HTTP. The
program belongs to the ``with`` that started it. It never listens on another
interface and never asks the network.

::

    with DistributionRegistry(tmp_path) as registry:
        layer = registry.put_blob("library/app", b"...")
        registry.put_manifest("library/app", "latest", document, media_type)
        ...  # pull f"{registry.address}/library/app:latest"
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from orlop.errors import NotFound, RegistryRejected, RegistryUnavailable
from orlop.model.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

PROGRAM: Final = "docker-registry"
_STARTED_WITHIN: Final = 15.0
_STOPPED_WITHIN: Final = 5.0
_PIECE: Final = 1 << 20
_ACCESS: Final = re.compile(r'"((?:GET|HEAD|POST|PUT|PATCH|DELETE) \S+) HTTP/[0-9.]+" (\d{3})')


@dataclass(frozen=True, slots=True)
class TokenAuth:
    """Bearer authentication: where clients get tokens, and who signs them.

    Attributes:
        realm: URL of the token service.
        service, issuer: names that the tokens must carry.
        root_certificate: PEM file with the certificate of the signing key.
    """

    realm: str
    service: str
    issuer: str
    root_certificate: Path


class DistributionRegistry:
    """A running registry; use it in a ``with``.

    Args:
        directory: gets ``storage/``, ``config.json`` and the log; made if missing, and kept.
        htpasswd: file of users with bcrypt hashes; None for open access.
        token: bearer authentication instead.
        certificate: PEM file of a server certificate; with ``key`` it serves HTTPS.
        key: PEM file of its key.
        authorization: value of the Authorization field for uploads.
        ca_file: PEM file that uploads check the server with.
        client_ca: PEM file of the authority that clients' certificates must come from;
            uploads have none, so fill the directory with another one before.
        access_log: write down every request, for ``accesses``.
        port: 0 picks a free one.

    Raises (on entering):
        NotFound: the program is not installed.
        RegistryUnavailable: it ended, or does not serve in time; the log's end is in the message.
    """

    def __init__(
        self,
        directory: Path,
        *,
        htpasswd: Path | None = None,
        token: TokenAuth | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        authorization: str = "",
        ca_file: Path | None = None,
        client_ca: Path | None = None,
        access_log: bool = False,
        port: int = 0,
    ) -> None:
        self.directory = directory
        self.port = port
        self._htpasswd = htpasswd
        self._token = token
        self._certificate = certificate
        self._key = key
        self._authorization = authorization
        self._ca_file = ca_file
        self._client_ca = client_ca
        self._access_log = access_log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """``127.0.0.1:port``: the domain of references to it."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Scheme and address."""
        return f"{'https' if self._certificate else 'http'}://{self.address}"

    @property
    def pid(self) -> int:
        """Process id of the running program."""
        assert self._process is not None, "the registry is not running"
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the program and wait until it serves; again on the same port after ``stop``."""
        program = shutil.which(PROGRAM)
        if program is None:
            raise NotFound(f"{PROGRAM}: no such program", hint=f"install {PROGRAM}")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = self.port or _free_port()
        config = self.directory / "config.json"  # JSON is YAML
        config.write_text(json.dumps(self._configuration(), indent=1))
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, "serve", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ.get("PATH", "")},
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the program; what it stores stays."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOPPED_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def accesses(self) -> list[str]:
        """Requests that have been answered, as ``METHOD /path?query STATUS``, oldest first."""
        log = (self.directory / "log").read_text("utf-8", "replace")
        return [f"{line[1]} {line[2]}" for line in _ACCESS.finditer(log)]

    def put_blob(self, repository: str, data: bytes | Path) -> Digest:
        """Upload a blob from memory or from a file, unless it is there already.

        Raises:
            RegistryRejected: the registry does not take it.
        """
        digest = _digest_of(data)
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        with self._connect() as connection:
            blob = f"/v2/{repository}/blobs/{digest}"
            status, headers = self._ask(connection, "HEAD", blob)
            if status == 200 and headers.get("content-length") == str(size):
                return digest
            status, headers = self._ask(connection, "POST", f"/v2/{repository}/blobs/uploads/")
            _expect(status, 202, repository)
            where = urllib.parse.urlsplit(headers["location"])
            query = f"{where.query}&" if where.query else ""
            target = f"{where.path}?{query}digest={urllib.parse.quote(str(digest))}"
            with contextlib.ExitStack() as files:
                body: bytes | BinaryIO = (
                    data if isinstance(data, bytes) else files.enter_context(data.open("rb"))
                )
                status, _ = self._ask(
                    connection,
                    "PUT",
                    target,
                    body=body,
                    headers={
                        "Content-Length": str(size),
                        "Content-Type": "application/octet-stream",
                    },
                )
            _expect(status, 201, f"{repository}@{digest}")
        return digest

    def put_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> Digest:
        """Upload a manifest or index under a tag or its digest; its blobs must be there.

        Raises:
            RegistryRejected: the registry does not take it.
        """
        with self._connect() as connection:
            status, _ = self._ask(
                connection,
                "PUT",
                f"/v2/{repository}/manifests/{reference}",
                body=data,
                headers={"Content-Type": media_type, "Content-Length": str(len(data))},
            )
            _expect(status, 201, f"{repository}:{reference}")
        return Digest.of(data)

    def delete_manifest(self, repository: str, digest: Digest) -> None:
        """Delete a manifest with all its tags.

        Raises:
            RegistryRejected: it is not there.
        """
        with self._connect() as connection:
            path = f"/v2/{repository}/manifests/{digest}"
            status, _ = self._ask(connection, "DELETE", path)
            _expect(status, 202, f"{repository}@{digest}")

    def _configuration(self) -> dict[str, object]:
        serve: dict[str, object] = {"addr": self.address, "secret": "not secret"}
        if self._certificate is not None:
            tls: dict[str, object] = {"certificate": str(self._certificate), "key": str(self._key)}
            if self._client_ca is not None:
                tls["clientcas"] = [str(self._client_ca)]
            serve["tls"] = tls
        auth: dict[str, object] = {}
        if self._htpasswd is not None:
            auth["htpasswd"] = {"realm": "test", "path": str(self._htpasswd)}
        if self._token is not None:
            auth["token"] = {
                "realm": self._token.realm,
                "service": self._token.service,
                "issuer": self._token.issuer,
                "rootcertbundle": str(self._token.root_certificate),
            }
        return {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": not self._access_log}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.directory / "storage")},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": serve,
            **({"auth": auth} if auth else {}),
        }

    def _wait(self) -> None:
        """Wait until the program, and not another one, listens on the port."""
        assert self._process is not None
        deadline = time.monotonic() + _STARTED_WITHIN
        while time.monotonic() < deadline and self._process.poll() is None:
            if _listens(self._process.pid, self.port):
                return
            time.sleep(0.01)
        log = (self.directory / "log").read_bytes()[-1000:].decode("utf-8", "replace")
        raise RegistryUnavailable(f"{PROGRAM} does not serve on {self.address}: {log.strip()}")

    @contextlib.contextmanager
    def _connect(self) -> Iterator[http.client.HTTPConnection]:
        connection: http.client.HTTPConnection
        if self._certificate is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        else:
            context = ssl.create_default_context(cafile=self._ca_file)
            connection = http.client.HTTPSConnection(
                "127.0.0.1", self.port, timeout=60, context=context
            )
        try:
            yield connection
        finally:
            connection.close()

    def _ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        *,
        body: bytes | BinaryIO = b"",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, str]]:
        fields = dict(headers or {})
        if self._authorization:
            fields["Authorization"] = self._authorization
        connection.request(method, target, body=body or None, headers=fields)
        answer = connection.getresponse()
        answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}


def basic(username: str, password: str) -> str:
    """Value of an Authorization field, for ``DistributionRegistry(authorization=…)``."""
    return f"Basic {base64.b64encode(f'{username}:{password}'.encode()).decode('ascii')}"


def _digest_of(data: bytes | Path) -> Digest:
    if isinstance(data, bytes):
        return Digest.of(data)
    hasher = hashlib.sha256()
    with data.open("rb") as file:
        while piece := file.read(_PIECE):
            hasher.update(piece)
    return Digest("sha256", hasher.hexdigest())


def _expect(status: int, wanted: int, subject: str) -> None:
    if status != wanted:
        raise RegistryRejected(f"{subject}: the registry answers {status}", status=status)


def _listens(pid: int, port: int) -> bool:
    """True when a process holds a socket that listens on an IPv4 port (proc(5), net/tcp)."""
    local = f":{port:04X}"
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1].endswith(local) and row[3] == "0A"}
    with contextlib.suppress(OSError):  # it may end while we look
        return any(
            str(descriptor.readlink()) in sockets
            for descriptor in Path(f"/proc/{pid}/fd").iterdir()
        )
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
