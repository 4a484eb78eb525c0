"""Reading ``hosts.toml``: every key, the order of hosts, and what is refused with its line."""

from __future__ import annotations

import pytest

from orlop.config.hosts import CAPABILITIES, CredentialSource, HostEntry, HostsFile, HostURL
from orlop.config.hosts_parse import parse
from orlop.errors import HostsInvalid, InvalidArgument

PATH = "/etc/certs.d/registry.example/hosts.toml"
HERE = "/etc/certs.d/registry.example"


def read(text: str) -> HostsFile:
    return parse(text.encode(), path=PATH)


def host(text: str) -> HostEntry:
    """The only host of a file whose table has these keys."""
    (entry,) = read(f'[host."https://mirror.example"]\n{text}').rules.hosts
    return entry


def urls(text: str) -> list[str]:
    return [str(entry.url) for entry in read(text).rules.hosts]


def test_nothing_is_everything_by_default() -> None:
    file = read("# nothing\n")
    assert file.rules.hosts == ()
    assert file.rules.server == HostEntry()
    assert (file.rules.fallback, file.rules.blocked) == (True, False)
    assert file.warnings == ()
    assert file.rules.where == f"{PATH}:1"


def test_every_key_of_a_host() -> None:
    entry = host(
        'capabilities = ["pull", "Resolve"]\n'
        'ca = "own.crt"\n'
        'client = [["c.cert", "/k.key"], ["both.pem", ""]]\n'
        "skip_verify = true\n"
        "override_path = true\n"
        'dial_timeout = "1m1s"\n'
        'credentials = "helper:ecr-login"\n'
        'realms = ["auth.example:444"]\n'
        'header.x-a = ["1", "2"]\n'
    )
    assert entry == HostEntry(
        url=HostURL("https", "mirror.example"),
        capabilities=frozenset({"pull", "resolve"}),
        ca=(f"{HERE}/own.crt",),
        client=((f"{HERE}/c.cert", "/k.key"), (f"{HERE}/both.pem", "")),
        skip_verify=True,
        headers=(("X-A", "1, 2"),),
        override_path=True,
        dial_timeout=61.0,
        credentials=CredentialSource("helper", "ecr-login"),
        realms=("auth.example:444",),
    )
    assert entry.where == f"{PATH}:1"


def test_keys_at_the_top_are_the_servers() -> None:
    rules = read(
        'server = "https://up.example/x"\n'
        'capabilities = ["pull"]\nca = ["/a", "b"]\nskip_verify = true\n'
        'dial_timeout = "2s"\nclient = "c.pem"\n[header]\nX = "y"\n'
    ).rules
    assert rules.server == HostEntry(
        url=HostURL("https", "up.example", None, "/x"),
        capabilities=frozenset({"pull"}),
        ca=("/a", f"{HERE}/b"),
        client=((f"{HERE}/c.pem", ""),),
        skip_verify=True,
        headers=(("X", "y"),),
        dial_timeout=2.0,
    )


def test_keys_at_the_top_count_without_a_server_too() -> None:
    server = read('capabilities = ["pull"]\nca = "/a"\n').rules.server
    assert server == HostEntry(capabilities=frozenset({"pull"}), ca=("/a",))


@pytest.mark.parametrize("text", ["", "capabilities = []"])
def test_no_capabilities_are_all(text: str) -> None:
    assert host(text).capabilities == frozenset(CAPABILITIES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('client = "a.pem"', ((f"{HERE}/a.pem", ""),)),
        ('client = ["a.pem", "../b.pem"]', ((f"{HERE}/a.pem", ""), ("/etc/certs.d/b.pem", ""))),
        ('client = [["a", ""], "b"]', ((f"{HERE}/a", ""), (f"{HERE}/b", ""))),
        ('client = [["a", "b"]]', ((f"{HERE}/a", f"{HERE}/b"),)),
        ("client = []", ()),
    ],
)
def test_client_certificates(text: str, expected: object) -> None:
    assert host(text).client == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [('"500ms"', 0.5), ('"0s"', None), ('""', None), ('"1m"', 60.0)],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert host(f"dial_timeout = {text}").dial_timeout == seconds


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", CredentialSource("none")),
        ("upstream", CredentialSource("upstream")),
        ("file:/x/config.json", CredentialSource("file", "/x/config.json")),
        ("file:config.json", CredentialSource("file", f"{HERE}/config.json")),
        ("helper:pass", CredentialSource("helper", "pass")),
    ],
)
def test_credentials(text: str, expected: CredentialSource) -> None:
    assert host(f'credentials = "{text}"').credentials == expected


def test_hosts_keep_the_order_of_the_file() -> None:
    names = [f"https://{name}.example" for name in "zmaqb"]
    assert urls("".join(f'[host."{name}"]\n' for name in names)) == names


def test_parts_of_a_host_may_stand_apart() -> None:
    text = (
        '[host."https://b.example".header]\nX = "1"\n'
        '[host."https://a.example"]\n'
        '[host."https://b.example"]\nskip_verify = true\n'
        '[host."https://a.example".header]\nY = "2"\n'
    )
    first, second = read(text).rules.hosts
    assert (str(first.url), first.headers, first.skip_verify) == (
        "https://b.example", (("X", "1"),), True,
    )  # fmt: skip
    assert (str(second.url), second.headers) == ("https://a.example", (("Y", "2"),))


def test_inline_and_dotted_tables_count() -> None:
    assert urls('host."https://b.example".skip_verify = true\nhost."https://a.example" = {}\n') == [
        "https://b.example",
        "https://a.example",
    ]
    assert urls('host = { "https://z.example" = {}, "https://y.example" = { ca = "x" } }') == [
        "https://z.example",
        "https://y.example",
    ]


def test_prefixes_have_rules_of_their_own() -> None:
    file = read(
        'server = "https://up.example"\n'
        '[prefix."library/"]\nfallback = false\n'
        '[prefix."library/".host."https://hub.example"]\n'
        '[prefix."team/app"]\nblocked = true\n'
    )
    library = file.rules_for("library/busybox")
    assert [str(entry.url) for entry in library.hosts] == ["https://hub.example"]
    assert library.fallback is False
    assert library.where == f"{PATH}:2"
    assert library.server.url is None  # nothing is handed down from the top
    assert file.rules_for("team/app/x").blocked is True
    assert file.rules_for("other").server.url == HostURL("https", "up.example")


def test_unknown_keys_are_warnings_with_the_nearest_key() -> None:
    text = 'sever = "x"\n[host."https://a.example"]\nskip_verifi = true\n[x]\ny = 1\n'
    inside = 'host."https://a.example".skip_verifi'
    assert read(text).warnings == (
        f"{PATH}:1: sever: unknown key, ignored; did you mean server?",
        f"{PATH}:4: x: unknown key, ignored",
        f"{PATH}:3: {inside}: unknown key, ignored; did you mean skip_verify?",
    )


REFUSED = [
    ("x = ", 1, "not TOML"),
    ("\n\nserver = 1", 3, "server: expected a string"),
    ('server = "ftp://a"', 1, "server: a host speaks http or https, not ftp"),
    ('server = "https://u:hunter2@a.example"', 1, "holds no user name"),
    ('[host."https://u:hunter2@a.example"]', 1, "holds no user name"),
    ("host = 1", 1, "host: expected a table"),
    ('[host]\n"https://a.example" = 1', 2, "expected a table"),
    ('[host."https://a"]\n[host."https://a/"]', 2, "the host is there twice"),
    ('\ncapabilities = ["pul"]', 2, 'unknown capability \'pul\'; did you mean "pull"?'),
    ('capabilities = "pull"', 1, "expected a list of strings"),
    ("ca = 1", 1, "ca: expected a string or a list of strings"),
    ('ca = ["a", 1]', 1, "ca: expected a string or a list of strings"),
    ('ca = ""', 1, "ca: not a path"),
    ('ca = "a\\u0000b"', 1, "ca: not a path"),
    ("client = 1", 1, "client: expected a path, a list"),
    ('client = [["a"]]', 1, "client: expected a path, or a pair"),
    ('client = [["a", "b", "c"]]', 1, "client: expected a path, or a pair"),
    ('client = [["a", 1]]', 1, "client: expected a path, or a pair"),
    ("skip_verify = 1", 1, "skip_verify: expected true or false"),
    ('override_path = "yes"', 1, "override_path: expected true or false"),
    ("dial_timeout = 1", 1, "dial_timeout: expected a duration in quotes"),
    ('dial_timeout = "1"', 1, "dial_timeout: not a duration"),
    ('dial_timeout = "-1s"', 1, "dial_timeout: a negative duration"),
    ("header = 1", 1, "header: expected a table"),
    ("[header]\nX = 1", 2, "header.X: expected a string or a list of strings"),
    ('[header]\nX = "hunter2\\n"', 1, "header: X: not the value of an HTTP header"),
    ('credentials = "hunter2"', 1, "credentials: not a source of credentials"),
    ('credentials = "file:"', 1, "credentials: not a source"),
    ('credentials = "helper:../x"', 1, "credentials: not a source"),
    ('credentials = "none:x"', 1, "credentials: not a source"),
    ("credentials = 1", 1, "credentials: not a source"),
    ('realms = ["https://a.example"]', 1, "realms: a realm is"),
    ("fallback = 0", 1, "fallback: expected true or false"),
    ('blocked = "true"', 1, "blocked: expected true or false"),
    ("prefix = 1", 1, "prefix: expected a table"),
    ('[prefix."../x"]', 1, "not the start of a repository"),
    ('[prefix.""]', 1, "not the start of a repository"),
    ('[prefix.a]\n[prefix."a/"]', 2, "the prefix is there twice"),
    ("[prefix.a]\n\nblocked = 1", 3, "prefix.a.blocked: expected true or false"),
    ('proxy = "http://proxy.example"', 1, "proxy: orlop does not support this key"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "cause"), REFUSED)
def test_a_wrong_value_is_refused_with_its_line(text: str, line: int, cause: str) -> None:
    with pytest.raises(HostsInvalid) as caught:
        read(text)
    assert caught.value.message.startswith(f"{PATH}:{line}: ")
    assert cause in caught.value.message
    assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"
    assert "\n" not in caught.value.message


def test_what_is_no_text_is_refused() -> None:
    for data in (b"\xff", b"\n\n\xff", b"x" * (2 << 20), b"a = " + b"[" * 5000):
        with pytest.raises(InvalidArgument) as caught:
            parse(data, path=PATH)
        assert isinstance(caught.value, HostsInvalid)
        assert caught.value.message.startswith(PATH)
