"""A local registry of docker-registry's make, and a client that fills it.

The registry keeps its data under the cache, outside of the file systems that
the measurements fill. It speaks plain HTTP on 127.0.0.1 and asks for no
credentials. Nothing here measures.

    python -m bench.registry [--port PORT] IMAGE...

pushes the images, each in all its tags, and serves until it is interrupted.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.image import CACHE, INDEX_TYPE, MANIFEST_TYPE, RECIPES, Image, blob_path, obtain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.layer import Blob

PROGRAM = "docker-registry"
_CHUNK = 1 << 20
_START_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry that answers.

    Attributes:
        host: ``address:port``; also the domain of the references.
        cache: The cache whose blobs are pushed.
    """

    host: str
    cache: Path

    def reference(self, image: Image, tag: str) -> str:
        """Returns the reference under which an image is served."""
        return f"{self.host}/{repository(image)}:{tag}"

    def push(self, image: Image) -> None:
        """Puts all tags of an image into the registry; what is there is not sent again."""
        base = f"/v2/{repository(image)}"
        for tag, manifest in image.manifests.items():
            index = image.indexes[tag]
            if self._has(f"{base}/manifests/{index.digest}"):
                continue
            for blob in image.blobs(tag):
                if not self._has(f"{base}/blobs/{blob.digest}"):
                    self._upload(base, blob)
            self._put_document(f"{base}/manifests/{manifest.digest}", manifest, MANIFEST_TYPE)
            self._put_document(f"{base}/manifests/{tag}", index, INDEX_TYPE)

    def warm(self, image: Image, tag: str) -> None:
        """Reads every blob of a tag once, so that the registry reads it from memory next."""
        for blob in image.blobs(tag):
            with self._connection() as connection:
                connection.request("GET", f"/v2/{repository(image)}/blobs/{blob.digest}")
                response = connection.getresponse()
                _expect(response, 200)
                while response.read(_CHUNK):
                    pass

    def _has(self, path: str) -> bool:
        with self._connection() as connection:
            connection.request("HEAD", path, headers={"Accept": f"{INDEX_TYPE}, {MANIFEST_TYPE}"})
            return connection.getresponse().status == 200

    def _upload(self, base: str, blob: Blob) -> None:
        with self._connection() as connection:
            connection.request("POST", f"{base}/blobs/uploads/", headers={"Content-Length": "0"})
            response = connection.getresponse()
            _expect(response, 202)
            location = response.headers["Location"]
            response.read()
            separator = "&" if "?" in location else "?"
            # Its address is a whole URL; a server takes that as a request target too.
            with blob_path(blob, cache=self.cache).open("rb") as body:
                connection.request(
                    "PUT",
                    f"{location}{separator}digest={blob.digest}",
                    body=body,
                    headers={
                        "Content-Length": str(blob.size),
                        "Content-Type": "application/octet-stream",
                    },
                )
            _expect(connection.getresponse(), 201)

    def _put_document(self, path: str, blob: Blob, media_type: str) -> None:
        document = blob_path(blob, cache=self.cache).read_bytes()
        with self._connection() as connection:
            connection.request("PUT", path, body=document, headers={"Content-Type": media_type})
            _expect(connection.getresponse(), 201)

    @contextmanager
    def _connection(self) -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection(self.host, timeout=60)
        try:
            yield connection
        finally:
            connection.close()


def repository(image: Image) -> str:
    """Returns the repository of an image in every registry of this module."""
    return f"bench/{image.name}"


@contextmanager
def serving(*, port: int = 0, cache: Path = CACHE) -> Iterator[Registry]:
    """Runs a registry on 127.0.0.1 while the context lasts.

    Args:
        port: The port; 0 takes a free one.
        cache: Its storage is in ``registry`` below; several may share it.

    Raises:
        RuntimeError: It does not answer; its last words are in the message.
    """
    storage = cache / "registry"
    storage.mkdir(parents=True, exist_ok=True)
    registry = Registry(host=f"127.0.0.1:{port or _free_port()}", cache=cache)
    with tempfile.TemporaryDirectory(prefix="registry-") as directory:
        log = Path(directory) / "log"
        configuration = Path(directory) / "config.yml"
        configuration.write_text(_configuration(registry.host, storage))
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [PROGRAM, "serve", str(configuration)], stdout=sink, stderr=sink
            )
        try:
            _wait_until_ready(registry.host, process, log)
            yield registry
        finally:
            process.terminate()
            process.wait()


def _configuration(host: str, storage: Path) -> str:
    """Returns a configuration; JSON is YAML."""
    return json.dumps(
        {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(storage)},
                "cache": {"blobdescriptor": "inmemory"},
            },
            "http": {"addr": host},
        }
    )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _wait_until_ready(host: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection(host, timeout=1)
        try:
            connection.request("GET", "/v2/")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.02)
        finally:
            connection.close()
    message = f"{PROGRAM} does not answer on {host}: {log.read_text()[-500:]}"
    raise RuntimeError(message)


def _expect(response: http.client.HTTPResponse, status: int) -> None:
    if response.status != status:
        message = f"the registry answered {response.status} instead of {status}: "
        raise RuntimeError(message + response.read(500).decode(errors="replace"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.registry", description="Serve test images.")
    parser.add_argument("--port", type=int, default=5599)
    parser.add_argument("image", nargs="+", choices=[*RECIPES, "tiny"])
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with serving(port=arguments.port) as registry:
        for name in arguments.image:
            image = obtain(name)
            registry.push(image)
            for tag in image.indexes:
                print(registry.reference(image, tag), flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
