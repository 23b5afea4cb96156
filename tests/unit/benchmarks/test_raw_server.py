import json
from base64 import b64decode

import pytest

from benchmarks.raw_server import Connection, answer_to


class Wire:
    """The writing end of a connection, as a protocol sees it."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


@pytest.mark.parametrize("size", [20, 1024])
def test_both_forms_hold_the_same_picture(size: int) -> None:
    """The SDK that gets its picture as base64 would be measured with another one."""
    _, _, image = answer_to(b"/image/%d/v2beta" % size).partition(b"\r\n\r\n")
    _, _, wrapped = answer_to(b"/base64/%d/v1" % size).partition(b"\r\n\r\n")

    assert len(image) == size
    assert b64decode(json.loads(wrapped)["data"][0]["b64_json"]) == image


@pytest.mark.parametrize("cut", range(1, 80, 7))
def test_a_request_is_answered_once_however_its_bytes_come(cut: int) -> None:
    """The server would hang, or answer early, when a request comes in several reads."""
    request = b"POST /image/8/x HTTP/1.1\r\nContent-Length: 10\r\n\r\n0123456789"
    wire = Wire()
    connection = Connection(wire.write)

    for _ in range(2):
        connection.data_received(request[:cut])
        connection.data_received(request[cut:])

    assert wire.written == 2 * answer_to(b"/image/8/x")


def test_nothing_is_answered_before_the_last_byte() -> None:
    """Uploads would be measured without their end."""
    wire = Wire()
    connection = Connection(wire.write)

    connection.data_received(b"POST /image/8/x HTTP/1.1\r\nContent-Length: 2\r\n\r\n1")

    assert wire.written == b""
