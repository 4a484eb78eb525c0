"""Secrets that nobody may find: each is unique, and looked for wherever something is written.

A daemon that logs everything pulls with credentials of every form, from registries
that accept them, refuse them, and tell them to everybody (K01, K02, K03).
"""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import traceback
import urllib.parse
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from orlop._proto import runtime_v1_pb2 as pb
from orlop._proto import runtime_v1_pb2_grpc as rpc
from orlop.errors import OrlopError
from orlop.ports.registry import Credentials
from orlop.testing.fake_registry import FakeRegistry
from orlop.testing.faults import Fault, RecordedRequest, Rule, redirect
from orlop.testing.images import build_image
from orlop.testing.layers import file
from tests.hostile.debugged_daemon import running
from tests.hostile.rows import row
from tests.integration.pull.rig import offer
from tests.unit.registry.rig import client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orlop.testing.images import BuiltImage

pytestmark = pytest.mark.root

PASSWORD = "canary-password-5f2a"
WRONG = "canary-wrong-91c4"
IDENTITY = "canary-identity-77be"
REGISTRY = "canary-registry-token-03da"
BEARER = "canary-bearer-c81d"
SIGNATURE = "canary-signature-4e0f"
HEADER = "canary-header-aa17"
USERS = {"ann": PASSWORD}


def encoded(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


SECRETS = [
    "canary",
    encoded("ann", PASSWORD),
    encoded("ann", WRONG),
    *(base64.b64encode(secret.encode()).decode().rstrip("=") for secret in (PASSWORD, IDENTITY)),
]
"""What must be nowhere; the first one is a part of all that is not encoded."""


def found(data: bytes) -> list[str]:
    return [secret for secret in SECRETS if secret.encode() in data]


@dataclass
class Place:
    """A daemon, a stub to talk to it, and registries that know the secrets."""

    home: Path
    pid: int
    images: rpc.ImageServiceStub
    bearer: FakeRegistry
    basic: FakeRegistry
    told: list[str]

    def pull(self, reference: str, auth: pb.AuthConfig | None = None) -> bool:
        """Ask the daemon; keeps whatever it says about a failure."""
        request = pb.PullImageRequest(image=pb.ImageSpec(image=reference), auth=auth)
        try:
            self.images.PullImage(request, timeout=60)
        except grpc.RpcError as error:
            self.told.append(f"{error!r} {error}")
            return False
        return True


CONFIG = """\
version = 4
[plugins."io.containerd.cri.v1.images".registry]
insecure_registries = ["{bearer}", "{basic}"]
[plugins."io.containerd.cri.v1.images".registry.headers]
X-Canary = ["{header}"]
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orlop-")))
        bearer = stack.enter_context(
            FakeRegistry(
                auth="bearer",
                users=USERS,
                identity_tokens=frozenset({IDENTITY}),
                registry_tokens=frozenset({REGISTRY, BEARER}),
            )
        )
        basic = stack.enter_context(FakeRegistry(auth="basic", users=USERS))
        config = CONFIG.format(bearer=bearer.address, basic=basic.address, header=HEADER)
        pid = stack.enter_context(running(home, config))
        channel = stack.enter_context(grpc.insecure_channel(f"unix://{home}/sock"))
        stub = rpc.ImageServiceStub(channel)  # type: ignore[no-untyped-call]
        yield Place(home, pid, stub, bearer, basic, [])


def image(name: str, size: int = 50_000) -> BuiltImage:
    return build_image([[file(name, os.urandom(size))]])


FORMS = {
    "password": pb.AuthConfig(username="ann", password=PASSWORD),
    "auth": pb.AuthConfig(auth=encoded("ann", PASSWORD)),
    "identity": pb.AuthConfig(identity_token=IDENTITY),
    "registry": pb.AuthConfig(registry_token=REGISTRY),
}


def pull_everything(place: Place) -> None:
    """All forms of credentials, with and without success; fails if one ends otherwise."""
    for name, form in FORMS.items():
        assert place.pull(offer(place.bearer, f"team/{name}", "v1", image(name)), form)
    for name in ("password", "auth"):
        assert place.pull(offer(place.basic, f"team/{name}", "v1", image(name)), FORMS[name])
    assert {"basic", "bearer"} == {
        one.headers["authorization"].lower() for one in place.bearer.requests if one.authorized
    } | {"basic"}
    assert any("x-canary" in one.headers for one in place.bearer.requests)
    wrong = [
        pb.AuthConfig(username="ann", password=WRONG),
        pb.AuthConfig(auth=encoded("ann", WRONG)),
        pb.AuthConfig(identity_token=f"{WRONG}-identity"),
        pb.AuthConfig(registry_token=f"{WRONG}-registry"),
        pb.AuthConfig(registry_token=f"{WRONG}\r\nX: y"),
        pb.AuthConfig(auth=f"{WRONG}-not-base64"),
    ]
    for registry in (place.bearer, place.basic):
        reference = offer(registry, "team/wrong", "v1", image("wrong"))
        for form in wrong:
            assert not place.pull(reference, form)
    tell_everybody(place)


def knows(path: str, request: RecordedRequest) -> bool:
    """True when the registry or the token service has been sent what it is to tell."""
    return path in request.path and (request.authorized or request.method == "POST")


def tell_everybody(place: Place) -> None:
    """A registry and a token service that put all they have been sent into their error texts."""
    token = Fault(status=200, body=f'{{"token":"{BEARER}"}}'.encode())
    for form in FORMS.values():
        given = form.identity_token or form.registry_token
        words = f"{given or ' '.join((PASSWORD, encoded('ann', PASSWORD)))} {HEADER}"
        link = f"https://storage.example/x?sig={SIGNATURE}"
        shown = f"{words} {BEARER if not form.registry_token else ''} {link}"
        body = f'{{"errors":[{{"code":"DENIED","message":"{shown}"}}]}}'.encode()
        plain = {"Content-Type": "text/plain"}
        for path, fault in (
            ("/manifests/", Fault(status=403, body=body)),
            ("/blobs/", Fault(status=418, body=shown.encode(), headers=plain)),
            ("/blobs/", Fault(status=500, body=body)),
            ("/blobs/", redirect(f"http://127.0.0.1:1/x?sig={SIGNATURE}")),
            ("/blobs/", redirect(f"ftp://ann:{PASSWORD}@x.example/?sig={SIGNATURE}")),
            ("/token", Fault(status=403, body=body.replace(BEARER.encode(), b""))),
        ):
            tried_again = fault.status == 500 or "127.0.0.1:1/" in str(fault.headers)
            if (path == "/token" and form.registry_token) or (tried_again and given):
                continue
            place.bearer.add_rule(Rule(partial(knows, path), fault))
            place.bearer.fail(token, path="/token", times=None)
            fresh = offer(place.bearer, f"team/t{len(place.told)}", "v1", image("telling"))
            assert not place.pull(fresh, form), (path, fault)
            place.bearer.clear_rules()


@pytest.fixture(scope="module")
def pulled(place: Place) -> Place:
    pull_everything(place)
    return place


@row("K01")
def test_nothing_is_told(pulled: Place) -> None:
    assert len(pulled.told) > 20
    assert [text for text in pulled.told if found(text.encode())] == []


@row("K01")
def test_nothing_is_logged(pulled: Place) -> None:
    log = (pulled.home / "log").read_bytes()
    assert b"pull" in log
    assert [line for line in log.splitlines() if found(line)] == []


@row("K01")
def test_nothing_is_stored(pulled: Place) -> None:
    files = [path for path in pulled.home.rglob("*") if path.is_file()]
    names = {path.name for path in files}
    assert {"meta.db", "meta.db-wal"} <= names
    kept = [path for path in files if path.name != "config.toml"]
    assert [path for path in kept if found(path.read_bytes()) or found(str(path).encode())] == []


def family(pid: int) -> list[int]:
    """A process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in family(int(child)))]


@row("K02")
def test_nothing_is_in_arguments_or_environments(pulled: Place) -> None:
    reference = offer(pulled.bearer, "team/slow", "v1", image("slow", 300_000))
    pulled.bearer.fail(Fault(rate=400_000), path="/blobs/", times=None)
    form = pb.AuthConfig(username="ann", password=PASSWORD, registry_token="")
    pulling = threading.Thread(target=pulled.pull, args=(reference, form))
    pulling.start()
    seen: set[int] = set()
    while pulling.is_alive():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # workers come and go
            for pid in family(pulled.pid):
                for name in ("cmdline", "environ"):
                    assert found(Path(f"/proc/{pid}/{name}").read_bytes()) == []
                seen.add(pid)
        pulling.join(0.01)
    pulled.bearer.clear_rules()
    assert len(seen) >= 3  # the daemon, its fork-server, a worker


@row("K03")
def test_memory_is_not_dumped(place: Place) -> None:
    for pid in family(place.pid):
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        (core,) = [line.split() for line in limits if line.startswith("Max core file size")]
        assert core[4:6] == ["0", "0"]


@row("K03")
def test_memory_is_hidden() -> None:
    asks = "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"  # PR_GET_DUMPABLE
    code = f"from orlop.daemon import harden; harden(); {asks}"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "0\n"


@row("K01")
async def test_tracebacks_and_reprs() -> None:
    """What our errors and objects say of themselves, and the errors that caused ours."""
    shown = []
    async with FakeRegistry(auth="bearer", users=USERS) as fake, client() as c:
        for form in (
            Credentials(username="ann", password=WRONG),
            Credentials(identity_token=IDENTITY),
            Credentials(registry_token=REGISTRY),
        ):
            remote = c.remote(fake, credentials=form)
            with pytest.raises(OrlopError) as failure:
                await remote.resolve()
            shown.append("".join(traceback.format_exception(failure.value)))
            shown += [repr(form), repr(remote), repr(vars(remote))]
            walked: BaseException | None = failure.value
            while walked is not None:
                shown.append(f"{walked!r} {walked.args}")
                walked = walked.__cause__ or walked.__context__
    assert [text for text in shown if found(urllib.parse.unquote(text).encode())] == []
