"""Exposition over HTTP, on the loopback interface only."""

import http.client
import socket
import threading

import pytest

from orlop.errors import FailedPrecondition, InvalidArgument
from orlop.metrics.observer import PrometheusObserver
from orlop.metrics.server import serve


def fetch(address: str) -> tuple[int, str]:
    host, _, port = address.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=5)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0"])
def test_serve(address: str) -> None:
    observer = PrometheusObserver()
    before = threading.active_count()
    with serve(address, observer) as served:
        assert served.startswith("127.0.0.1:")
        observer.attribute_dropped("xattr", 2)
        status, text = fetch(served)
        assert status == 200
        assert 'orlop_attributes_dropped_total{kind="xattr"} 2.0' in text
    with pytest.raises(ConnectionRefusedError):
        fetch(served)
    assert threading.active_count() == before


def test_serve_on_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        # A machine without IPv6: the failure must be told in our words.
        with pytest.raises(FailedPrecondition), serve("[::1]:0", PrometheusObserver()):
            pytest.fail("it serves")
        return
    with serve("[::1]:0", PrometheusObserver()) as served:
        assert served.startswith("[::1]:")
        assert fetch(served)[0] == 200


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "example.com:80", "127.0.0.1", ""])
def test_only_loopback(address: str) -> None:
    with pytest.raises(InvalidArgument), serve(address, PrometheusObserver()):
        pytest.fail("it serves")


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(FailedPrecondition, match="in use") as caught,
            serve(address, PrometheusObserver()),
        ):
            pytest.fail("it serves")
    assert caught.value.hint


def test_the_server_ends_when_the_body_raises() -> None:
    with pytest.raises(ZeroDivisionError), serve("127.0.0.1:0", PrometheusObserver()) as served:
        raise ZeroDivisionError
    with pytest.raises(ConnectionRefusedError):
        fetch(served)
