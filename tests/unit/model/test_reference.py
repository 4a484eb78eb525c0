"""References: grammar and defaults of the distribution project."""

from __future__ import annotations

import time

import pytest

from orlop.errors import InvalidReference
from orlop.model.digest import Digest
from orlop.model.reference import Reference, from_user

HEX = "a1" * 32
SHA = f"sha256:{HEX}"
LIBRARY = "docker.io/library"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("busybox", f"{LIBRARY}/busybox:latest"),
        ("busybox:1.36", f"{LIBRARY}/busybox:1.36"),
        ("library/busybox", f"{LIBRARY}/busybox:latest"),
        ("docker.io/busybox", f"{LIBRARY}/busybox:latest"),
        ("docker.io/library/busybox", f"{LIBRARY}/busybox:latest"),
        ("index.docker.io/busybox:1", f"{LIBRARY}/busybox:1"),
        ("index.docker.io/team/app", "docker.io/team/app:latest"),
        ("team/app", "docker.io/team/app:latest"),
        ("a/b/c/d", "docker.io/a/b/c/d:latest"),
        ("localhost", f"{LIBRARY}/localhost:latest"),
        ("localhost:5000", f"{LIBRARY}/localhost:5000"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("registry:5000/app:5000", "registry:5000/app:5000"),
        ("registry.example", f"{LIBRARY}/registry.example:latest"),
        ("registry.example/app", "registry.example/app:latest"),
        ("Registry/app", "Registry/app:latest"),
        ("REGISTRY.example/app", "REGISTRY.example/app:latest"),
        ("[::1]/app", "[::1]/app:latest"),
        ("[fd00::1]:5000/team/app:v1", "[fd00::1]:5000/team/app:v1"),
        ("192.0.2.1:5000/app", "192.0.2.1:5000/app:latest"),
        ("a-b.c--d.example/app", "a-b.c--d.example/app:latest"),
        ("team/app.v1_x__y-z---w", "docker.io/team/app.v1_x__y-z---w:latest"),
        ("app:_x.Y-z", f"{LIBRARY}/app:_x.Y-z"),
        ("app:" + "t" * 128, f"{LIBRARY}/app:" + "t" * 128),
        (f"app@{SHA}", f"{LIBRARY}/app@{SHA}"),
        (f"app:v1@{SHA}", f"{LIBRARY}/app@{SHA}"),
        (f"ghcr.io/team/app:v1@{SHA}", f"ghcr.io/team/app@{SHA}"),
        (f"app@sha512:{HEX}{HEX}", f"{LIBRARY}/app@sha512:{HEX}{HEX}"),
        (f"library/{HEX}", f"{LIBRARY}/{HEX}:latest"),
        (HEX[:63], f"{LIBRARY}/{HEX[:63]}:latest"),
        (f"{HEX}:tag", f"{LIBRARY}/{HEX}:tag"),
    ],
)
def test_from_user(text: str, canonical: str) -> None:
    reference = from_user(text)
    assert str(reference) == canonical
    assert from_user(canonical) == reference
    assert Reference.parse(canonical) == reference


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "it is empty"),
        (HEX, "64 hex digits are an image id"),
        ("https://registry.example/app", "it is a URL"),
        ("App", "repository 'library/App' must be lower case"),
        ("team/App:v1", "repository 'team/App' must be lower case"),
        ("registry.example/team/APP", "repository 'team/APP' must be lower case"),
        (" app", "bad repository component ' app'"),
        ("app ", "bad repository component 'app '"),
        ("-app", "bad repository component '-app'"),
        ("app-", "bad repository component 'app-'"),
        ("app..x", "bad repository component 'app..x'"),
        ("app___x", "bad repository component 'app___x'"),
        ("app._x", "bad repository component 'app._x'"),
        ("team//app", "bad repository component ''"),
        ("team/", "bad repository component ''"),
        ("registry.example/", "bad repository component ''"),
        ("/app", "bad repository component ''"),
        ("a/../b", "bad repository component '..'"),
        ("../b", "bad registry '..'"),
        ("\u00e9t\u00e9", r"bad repository component '\\xe9t\\xe9'"),
        ("ap\u212a", "must be lower case"),  # the Kelvin sign, a capital letter
        ("\ud800", "bad repository component"),
        ("app\n", "bad repository component"),
        ("app:", "bad tag ''"),
        ("app:.v1", "bad tag '.v1'"),
        ("app:-v1", "bad tag '-v1'"),
        ("app:v1:v2", "bad tag 'v1:v2'"),
        ("app:v\u0661", "bad tag"),
        ("app:" + "t" * 129, "bad tag 't"),
        ("app:v1\n", "bad tag"),
        ("app@", "digest '' has no algorithm"),
        ("app@latest", "digest 'latest' has no algorithm"),
        (f"app@{SHA}0", "65 hex digits"),
        (f"app@{SHA.upper()}", "unsupported digest algorithm 'SHA256'"),
        (f"app@md5:{HEX[:32]}", "unsupported digest algorithm 'md5'"),
        (f"app@{SHA}@{SHA}", "hex digits"),
        (f"app@{SHA}:v1", "hex digits"),
        ("registry:/app", "bad port '' of registry 'registry'"),
        ("registry:http/app", "bad port 'http' of registry 'registry'"),
        ("registry:0/app", "bad port '0'"),
        ("registry:65536/app", "bad port '65536'"),
        ("registry:1:2/app", "bad port '1:2'"),
        ("-registry.example/app", "bad registry '-registry.example'"),
        ("registry-.example/app", "bad registry"),
        (".example/app", "bad registry '.example'"),
        ("registry..example/app", "bad registry"),
        ("under_score.example/app", "bad registry"),
        ("[::1/app", "bad registry '\\["),
        ("[::g]/app", "bad registry"),
        ("[]:5000/app", "bad registry"),
        ("x" * 240, "longer than 255"),
        (f"{'r' * 100}.example/{'x/' * 80}y", "longer than 255"),
    ],
)
def test_from_user_refuses_and_names_the_part(text: str, cause: str) -> None:
    with pytest.raises(InvalidReference, match=cause.replace("..", r"\.\.")) as caught:
        from_user(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 700


def test_length_counts_registry_and_repository() -> None:
    fits = "r.example/" + "x" * 245
    assert len(from_user(fits).name) == 255
    with pytest.raises(InvalidReference, match="longer than 255"):
        from_user(fits + "x")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("App", "try 'app'"),
        ("registry.example/App", "try 'registry.example/app'"),
        ("https://registry.example/app", "leave out the scheme"),
        (HEX, "for a repository of that name write library/NAME"),
    ],
)
def test_hints_say_what_to_do(text: str, hint: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        from_user(text)
    assert caught.value.hint == hint


def test_message_shows_what_the_user_typed() -> None:
    with pytest.raises(InvalidReference, match=r"invalid reference 'team/App': "):
        from_user("team/App")


@pytest.mark.parametrize(
    "text",
    [
        "busybox",
        "library/busybox:latest",
        "docker.io/busybox:latest",
        "index.docker.io/library/busybox:latest",
        "docker.io",
        "team/app:v1",
        "",
    ],
)
def test_parse_takes_canonical_form_only(text: str) -> None:
    with pytest.raises(InvalidReference):
        Reference.parse(text)


@pytest.mark.parametrize(
    "text", [f"{LIBRARY}/app", f"{LIBRARY}/app:v1@{SHA}", f"{LIBRARY}/app@{SHA}", "r:1/app:v1"]
)
def test_parse_adds_and_drops_nothing(text: str) -> None:
    assert str(Reference.parse(text)) == text


@pytest.mark.parametrize(
    ("domain", "path", "cause"),
    [
        ("team", "app", "cannot be told from a repository"),
        ("docker.io", "app", "is called library/app"),
        ("index.docker.io", "library/app", "is called docker.io"),
        ("", "app", "bad registry ''"),
    ],
)
def test_constructor_keeps_references_canonical(domain: str, path: str, cause: str) -> None:
    with pytest.raises(InvalidReference, match=cause):
        Reference(domain, path)


@pytest.mark.parametrize(
    ("canonical", "familiar"),
    [
        (f"{LIBRARY}/busybox:latest", "busybox:latest"),
        (f"{LIBRARY}/busybox@{SHA}", f"busybox@{SHA}"),
        ("docker.io/team/app:v1", "team/app:v1"),
        ("registry.example/app:v1", "registry.example/app:v1"),
        # Shortened, these would be read as something else.
        (f"{LIBRARY}/{HEX}:v1", f"library/{HEX}:v1"),
        ("docker.io/localhost/app:v1", "docker.io/localhost/app:v1"),
        ("docker.io/team.example/app:v1", "docker.io/team.example/app:v1"),
        ("docker.io/library/deep/app:v1", "library/deep/app:v1"),
    ],
)
def test_familiar_reads_back(canonical: str, familiar: str) -> None:
    reference = Reference.parse(canonical)
    assert reference.familiar == familiar
    assert from_user(familiar) == reference


def test_object_prefers_the_digest() -> None:
    plain = Reference("r.example", "app")
    assert plain.object == "latest"
    assert plain.with_tag("v1").object == "v1"
    assert plain.with_tag("v1").with_digest(Digest.parse(SHA)).object == SHA


def test_parts_change_one_at_a_time() -> None:
    tagged = Reference("r.example", "app", "v1")
    both = tagged.with_digest(Digest.parse(SHA))
    assert (both.name, both.tag, str(both.digest)) == ("r.example/app", "v1", SHA)
    assert both.without_tag_if_digest().tag is None
    assert both.with_tag("v2").digest == both.digest
    assert tagged.without_tag_if_digest() is tagged
    with pytest.raises(InvalidReference, match="bad tag"):
        tagged.with_tag("no spaces")


@pytest.mark.parametrize(
    "text",
    [
        "user:secret@registry.example/app",
        "user:secret@registry.example:5000/app:v1",
        "https://user:secret@registry.example/app",
        "https://user:secret@registry",
        "user:se@cret@localhost/app",
        f"user:secret@registry.example/app@{SHA}",
    ],
)
def test_passwords_are_not_shown(text: str) -> None:
    for read in (from_user, Reference.parse):
        with pytest.raises(InvalidReference) as caught:
            read(text)
        assert "cret" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("unit", ["a", "a-", "a.", "a_", "-", "a/", ":", "@", "[", "A"])
def test_hostile_text_costs_linear_time(unit: str) -> None:
    text = "r.example/" + unit * 200_000
    start = time.perf_counter()
    with pytest.raises(InvalidReference):
        from_user(text)
    assert time.perf_counter() - start < 1
