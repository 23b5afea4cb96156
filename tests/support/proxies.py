"""Real reverse proxies from Debian's packages, each on a loopback port while a block runs."""

import asyncio
import os
import re
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory
from typing import TypeAlias
from urllib.parse import urlsplit

import attrs
import pytest

from support.servers import running

_PATIENCE = 10.0  # [s] to start or to write a log, on a busy machine

_NGINX = Template("""\
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
    log_format status "status=$$status";
    access_log access.log status;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    client_max_body_size 20m;
    $http
    server {
        listen 127.0.0.1:$port reuseport backlog=2048;
        location / {
            proxy_pass http://$upstream;
            $location
        }
    }
}
""")

_HAPROXY = Template("""\
global
    log stdout format raw daemon
defaults
    mode http
    log global
    option dontlognull
    log-format "status=%ST"
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend proxy
    bind 127.0.0.1:$port backlog 2048 $bind
    $frontend
    default_backend upstream
backend upstream
    $backend
    server upstream $upstream $server
""")


@attrs.frozen
class Proxy:
    """A proxy that is running.

    Attributes:
        url: Where it listens.
        access_log: Where it notes the status of each answer.
    """

    url: str
    access_log: Path

    async def statuses(self, answers: int) -> Counter[int]:
        """Return how often it answered with which status, by its own account.

        Args:
            answers: How many to wait for: a refusal is noted when the rest of the upload has
                been read away, which may be later than it was heard.
        """
        ends_at = time.monotonic() + _PATIENCE
        while True:
            found = re.findall(r"status=(\d+)", self.access_log.read_text())
            if len(found) >= answers or time.monotonic() > ends_at:
                return Counter(map(int, found))
            await asyncio.sleep(0.02)


Gate: TypeAlias = Callable[[str], AbstractContextManager[Proxy]]
"""Puts a proxy before the server at a URL."""


def through(gates: Mapping[str, Gate]) -> pytest.MarkDecorator:
    """Run a test with each of these proxies, by their names, as its `gate`."""
    return pytest.mark.parametrize("gate", gates.values(), ids=gates.keys())


@contextmanager
def nginx(upstream: str, location: str = "", *, http: str = "") -> Generator[Proxy]:
    """Run nginx before a server.

    Args:
        upstream: The server's URL.
        location: Directives for what is passed on.
        http: Directives for the level above.
    """
    with reserved_port() as port, TemporaryDirectory(prefix="nginx-") as name:
        folder = Path(name)
        config = _NGINX.substitute(
            port=port, upstream=urlsplit(upstream).netloc, location=location, http=http
        )
        (folder / "nginx.conf").write_text(config)
        command = [find_program("nginx"), "-p", name, "-c", "nginx.conf", "-e", "stderr"]
        with _listening(command, port, folder / "output.log"):
            yield Proxy(f"http://127.0.0.1:{port}", folder / "access.log")


@contextmanager
def haproxy(
    upstream: str, frontend: str = "", *, backend: str = "", server: str = "", bind: str = ""
) -> Generator[Proxy]:
    """Run HAProxy before a server.

    Args:
        upstream: The server's URL.
        frontend: Lines about what comes in.
        backend: Lines about what is passed on.
        server: Words about the server, such as `check`.
        bind: Words about the port, such as `ssl`.
    """
    with reserved_port() as port, TemporaryDirectory(prefix="haproxy-") as name:
        folder = Path(name)
        config = _HAPROXY.substitute(
            port=port,
            upstream=urlsplit(upstream).netloc,
            frontend=frontend,
            backend=backend,
            server=server,
            bind=bind,
        )
        (folder / "haproxy.cfg").write_text(config)
        log = folder / "output.log"
        with _listening([find_program("haproxy"), "-db", "-f", f"{name}/haproxy.cfg"], port, log):
            scheme = "https" if bind.startswith("ssl") else "http"
            yield Proxy(f"{scheme}://127.0.0.1:{port}", log)


def find_program(program: str, *, package: str = "", folders: str = "/usr/sbin") -> str:
    """Return a program's path; without it the test is skipped, or fails where CI is set.

    Args:
        program: Its name.
        package: Debian's name of what brings it, if it is another one.
        folders: Where else to look, with colons between.
    """
    found = shutil.which(program, path=f"{os.environ['PATH']}:{folders}")
    if found is None:
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up(f"{program} is not installed: apt-get install {package or program}")
    return found


@contextmanager
def reserved_port() -> Generator[int]:
    """Keep a free port, where nobody listens, for a server that shares addresses or ports."""
    with socket.socket() as placeholder:
        placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        placeholder.bind(("127.0.0.1", 0))
        yield placeholder.getsockname()[1]


@contextmanager
def _listening(command: list[str], port: int, output: Path) -> Generator[None]:
    """Run a proxy, from when it listens until the block ends."""
    with (
        output.open("wb") as log,
        running(command, stdout=log.fileno(), stderr=log.fileno()) as process,
    ):
        ends_at = time.monotonic() + _PATIENCE
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > ends_at:
                pytest.fail(f"{command[0]} does not start: {output.read_text()}")
            time.sleep(0.005)
        yield


def _listens(port: int) -> bool:
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0
