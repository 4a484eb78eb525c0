"""``orlop hosts``."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]
CANARY = "hunter2-canary"


@pytest.fixture
def explain(run: Run, tmp_path: Path) -> Run:
    """``explain(text, *arguments)``: with this ``hosts.toml`` for docker.io."""
    certs = tmp_path / "certs.d"
    config = tmp_path / "config.toml"
    config.write_text(
        "version = 4\n"
        '[plugins."io.containerd.cri.v1.images".registry]\n'
        f'config_path = "{certs}"\n'
        '[plugins."io.containerd.cri.v1.images".registry.headers]\n'
        f'x-node = ["{CANARY}"]\n'
        '[plugins."io.containerd.cri.v1.images".registry.configs."docker.io".auth]\n'
        f'username = "u"\npassword = "{CANARY}"\n'
    )

    def command(text: str, *arguments: str) -> tuple[int, str, str]:
        if text:
            (certs / "docker.io").mkdir(parents=True, exist_ok=True)
            (certs / "docker.io" / "hosts.toml").write_text(text)
        code, out, err = run("hosts", "explain", "--config", str(config), *arguments)
        assert CANARY not in out + err
        return code, out.replace(str(certs), "CERTS"), err.replace(str(certs), "CERTS")

    return command


FULL = f"""
[host."https://m.example/hub"]
capabilities = ["pull"]
ca = "m.crt"
client = [["m.cert", "m.key"], ["m.pem", ""]]
skip_verify = true
dial_timeout = "1s"
credentials = "helper:vault"
realms = ["auth.example"]
header.x-token = "{CANARY}"
skip_verfy = true
"""


def test_without_rules(explain: Run) -> None:
    code, out, _ = explain("", "busybox")
    assert code == 0
    assert out == (
        "image:     docker.io/library/busybox:latest\n"
        "rules:     none\n"
        "looked at: CERTS/docker.io: nothing\n"
        "           CERTS/*.io: nothing\n"
        "           CERTS/_default: nothing\n"
        "fallback:  nothing is configured about the registry, so it is asked itself\n"
        "\n"
        "host 1:            https://registry-1.docker.io/v2\n"
        "  asked to:        pull, push, referrers, resolve\n"
        "  connects within: 10 s\n"
        "  headers:         X-Node\n"
        "  credentials:     the pull's own, else configured for docker.io\n"
    )


def test_everything_that_is_configured(explain: Run) -> None:
    code, out, err = explain(FULL, "busybox")
    assert code == 0
    assert err == (
        'orlop: warning: CERTS/docker.io/hosts.toml:11: host."https://m.example/hub".skip_verfy:'
        " unknown key, ignored; did you mean skip_verify?\n"
    )
    assert out.partition("\n\n")[2].partition("\n\n")[0] == (
        "host 1:               https://m.example/hub/v2\n"
        "  configured at:      CERTS/docker.io/hosts.toml:2\n"
        "  asked to:           pull\n"
        "  asked for:          ns=docker.io\n"
        "  TLS:                certificate is not verified\n"
        "  authority:          CERTS/docker.io/m.crt\n"
        "  client certificate: CERTS/docker.io/m.cert and CERTS/docker.io/m.key\n"
        "                      CERTS/docker.io/m.pem\n"
        "  connects within:    1 s\n"
        "  headers:            X-Node, X-Token\n"
        "  token services:     auth.example\n"
        "  credentials:        helper vault"
    )


def test_as_json(explain: Run) -> None:
    code, out, _ = explain(FULL, "busybox", "-o", "json")
    assert code == 0
    whole = json.loads(out)
    assert whole["reference"] == "docker.io/library/busybox:latest"
    assert whole["rules"] == "CERTS/docker.io/hosts.toml:1"
    assert whole["fallback"].startswith("the registry itself")
    assert whole["looked"] == [
        {"path": "CERTS/docker.io/hosts.toml", "found": "rules at CERTS/docker.io/hosts.toml:1"}
    ]
    assert len(whole["warnings"]) == 1
    mirror, upstream = whole["hosts"]
    assert mirror == {
        "url": "https://m.example/hub/v2",
        "upstream": False,
        "namespace": "docker.io",
        "capabilities": ["pull"],
        "ca": ["CERTS/docker.io/m.crt"],
        "client": [["CERTS/docker.io/m.cert", "CERTS/docker.io/m.key"], ["CERTS/docker.io/m.pem"]],
        "skip_verify": True,
        "connect_timeout": 1.0,
        "headers": ["X-Node", "X-Token"],
        "credentials": "helper vault",
        "realms": ["auth.example"],
        "where": "CERTS/docker.io/hosts.toml:2",
    }
    assert upstream["upstream"] is True


def test_plain_http_has_no_certificates(explain: Run) -> None:
    _, out, _ = explain('server = "http://m.example"\nca = "x"\nskip_verify = true\n', "busybox")
    assert "TLS:             none: plain HTTP" in out
    assert "authority" not in out


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("x", 2, "CERTS/docker.io/hosts.toml:1: not TOML"),
        ("blocked = true", 5, "docker.io/library/busybox: blocked at CERTS/docker.io/hosts.toml:1"),
    ],
)
def test_what_a_pull_would_end_with(explain: Run, text: str, code: int, message: str) -> None:
    ended, out, err = explain(text, "busybox")
    assert (ended, out) == (code, "")
    assert err.startswith(f"orlop: {message}")


def test_a_name_that_is_none(explain: Run) -> None:
    assert explain("", "https://a.example/x")[0] == 2
