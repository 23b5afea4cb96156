"""Real servers that a key's record is kept on, from Debian's packages, on loopback ports."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import attrs
import pytest
import redis

from support.proxies import find_program, reserved_port

USER, PASSWORD = "alice-the-user", "s3cr3t/p@ss:w?rd"
ENCODED_PASSWORD = "s3cr3t%2Fp%40ss%3Aw%3Frd"
"""Of a login that may do what a store needs. Another one, `bob`, may not."""

_PATIENCE = 15.0  # [s] to start or to end, on a busy machine


@attrs.define
class Database(ABC):
    """A server that can be stopped, killed and started again.

    Attributes:
        port: Where it listens, whenever it runs.
        folder: What it keeps.
        url: For a login that may do everything.
        socket_url: The same over a Unix socket.
    """

    port: int
    folder: Path
    process: "subprocess.Popen[bytes] | None" = None

    @property
    @abstractmethod
    def url(self) -> str: ...

    @property
    @abstractmethod
    def socket_url(self) -> str: ...

    @abstractmethod
    def url_of(self, user: str, password: str) -> str: ...

    @abstractmethod
    def url_at(self, port: int) -> str:
        """Return the URL by way of another port."""

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def answers(self) -> bool: ...

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Return all that it keeps of a record."""

    @abstractmethod
    def write(self, name: str, kept: bytes) -> None: ...

    @abstractmethod
    def forget(self, name: str) -> None: ...

    @abstractmethod
    def hang_up(self) -> None:
        """Close all connections."""

    def start(self) -> None:
        """Start it, and wait until it answers."""
        output = self.folder / "output.log"
        with output.open("ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "INT", *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        ends_at = time.monotonic() + _PATIENCE
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > ends_at:
                pytest.fail(f"{self.command()[0]} does not start: {output.read_text()}")
            time.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and to the processes that it has started."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        for pid in (self.process.pid, *map(int, children.split())):
            os.kill(pid, number)

    def stop(self) -> None:
        """End it as an administrator would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(_PATIENCE)
            finally:
                self.process.kill()
                self.process.wait()
                self.process = None


@attrs.define
class Redis(Database):
    """A Redis server that keeps nothing on disk."""

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    @property
    def socket_url(self) -> str:
        return f"unix://{self.folder}/redis.sock"

    def url_of(self, user: str, password: str) -> str:
        return f"redis://{user}:{password}@127.0.0.1:{self.port}/0"

    def url_at(self, port: int) -> str:
        return f"redis://127.0.0.1:{port}"

    def read(self, name: str) -> bytes:
        return bytes(self.ask("GET", f"sd3async:limit:{name}"))

    def write(self, name: str, kept: bytes) -> None:
        self.ask("SET", f"sd3async:limit:{name}", kept)

    def forget(self, name: str) -> None:
        self.ask("DEL", f"sd3async:limit:{name}")

    def hang_up(self) -> None:
        for kind in ("normal", "pubsub"):
            self.ask("CLIENT", "KILL", "TYPE", kind)

    def ask(self, *command: str | bytes) -> Any:
        """Send one command, as the administrator."""
        with redis.Redis(port=self.port) as client:
            return client.execute_command(*command)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

    def command(self) -> list[str]:
        users = {USER: f">{PASSWORD} ~* &* +@all", "bob": ">bob ~* resetchannels +@all"}
        config = "".join(f'user {name} on "{rules}"\n' for name, rules in users.items())
        config = config.replace('"', "")
        (self.folder / "redis.conf").write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\nsave ''\n"
            f"unixsocket {self.folder}/redis.sock\n{config}"
        )
        return [find_program("redis-server"), f"{self.folder}/redis.conf"]

    def answers(self) -> bool:
        with socket.socket() as knock:
            return knock.connect_ex(("127.0.0.1", self.port)) == 0


@attrs.define
class Postgres(Database):
    """A PostgreSQL server; it refuses to run as root, and is somebody else's then."""

    @property
    def url(self) -> str:
        return self.url_at(self.port)

    @property
    def socket_url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.folder}&port={self.port}"

    def url_at(self, port: int) -> str:
        return f"postgresql://postgres@127.0.0.1:{port}/postgres"

    def url_of(self, user: str, password: str) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/postgres"

    def make(self) -> None:
        """Make what it keeps, and its users."""
        if os.geteuid() == 0:
            owner = self._owner()
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        _ = subprocess.run(
            [*self._as_owner(), _postgres_program("initdb"), "--pgdata", f"{self.folder}/data",
             "--username", "postgres", "--no-sync", "--locale", "C", "--auth", "trust"],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        (self.folder / "data" / "pg_hba.conf").write_text(
            "host all postgres 127.0.0.1/32 trust\n"
            "local all postgres trust\n"
            "host all all 127.0.0.1/32 scram-sha-256\n"
        )
        self.start()
        for command in (
            f"CREATE ROLE \"{USER}\" LOGIN PASSWORD '{PASSWORD}'",
            "CREATE ROLE bob LOGIN PASSWORD 'bob'",
            "CREATE DATABASE closed",
            f'GRANT CREATE ON SCHEMA public TO "{USER}"',
            f'ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES TO "{USER}"',
        ):
            self.ask(command)

    def read(self, name: str) -> bytes:
        return bytes.fromhex(
            self.ask(f"SELECT encode(record, 'hex') FROM sd3async_limits WHERE name = '{name}'")
        )

    def write(self, name: str, kept: bytes) -> None:
        self.ask(f"UPDATE sd3async_limits SET record = '\\x{kept.hex()}' WHERE name = '{name}'")

    def forget(self, name: str) -> None:
        self.ask(f"DELETE FROM sd3async_limits WHERE name = '{name}'")

    def hang_up(self) -> None:
        self.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )

    def ask(self, command: str) -> str:
        """Run some SQL, as the administrator; return the first value."""
        asked = [_postgres_program("psql"), "-qXAt", self.url, "-c", command]
        return subprocess.run(asked, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def command(self) -> list[str]:
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "max_connections": 40,
            "autovacuum": "off",
        }
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        program = _postgres_program("postgres")
        return [*self._as_owner(), program, "-D", f"{self.folder}/data", *options]

    def answers(self) -> bool:
        asked = [_postgres_program("pg_isready"), "-q", "-h", "127.0.0.1", "-p", f"{self.port}"]
        return subprocess.run(asked, check=False).returncode == 0

    def _as_owner(self) -> list[str]:
        if os.geteuid() != 0:
            return []
        owner = self._owner()
        return ["setpriv", "--reuid", f"{owner.pw_uid}", "--regid", f"{owner.pw_gid}",
                "--clear-groups", "--pdeathsig", "INT"]  # fmt: skip

    def _owner(self) -> pwd.struct_passwd:
        try:
            return pwd.getpwnam("postgres")
        except KeyError:
            return pwd.getpwnam("nobody")


@contextmanager
def redis_server() -> Generator[Redis]:
    """Run a Redis server."""
    with reserved_port() as port, _folder("redis-") as folder:
        server = Redis(port, folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def postgres_server() -> Generator[Postgres]:
    """Run a PostgreSQL server."""
    with reserved_port() as port, _folder("postgres-") as folder:
        server = Postgres(port, folder)
        try:
            server.make()
            yield server
        finally:
            server.stop()


@contextmanager
def _folder(prefix: str) -> Generator[Path]:
    """Make a temporary folder that another user can get into: pytest's own are closed."""
    name = mkdtemp(prefix=f"sd3async-{prefix}")
    try:
        yield Path(name)
    finally:
        shutil.rmtree(name)


def _postgres_program(name: str) -> str:
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    folders = ":".join(map(str, versions))
    return find_program(name, package="postgresql", folders=folders)
