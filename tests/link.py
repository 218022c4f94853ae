"""A network link of a test's own, which can go down: packets are lost, and nobody is told.

A network namespace has the far end of a pair of virtual interfaces. A socket belongs to the
namespace that its thread was in when it was made, so that whoever listens at the far end is a
thread of this process all the same. It takes root, Linux and the program ``ip``.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import random
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_CLONE_NEWNET: Final = 0x40000000
_NAMESPACES: Final = Path("/var/run/netns")
_numbers = itertools.count(1)


class LinkUnavailable(Exception):
    """Links cannot be made here. ``refused``: by the kernel, whatever is installed."""

    refused = False


class NetworkLink:
    """Made and up while its block is open."""

    def __init__(self) -> None:
        # an interface's name has room for 15 bytes
        self._name = f"hl{os.getpid() % 100_000}x{next(_numbers)}"
        self._near, self._far = f"{self._name}a", f"{self._name}b"
        # a /30 of the range for tests of networks (RFC 2544), which nothing else is in
        net = random.randrange(1 << 15) * 4
        block = (198 << 24) + (18 << 16) + net
        self._near_address, self.address = (
            socket.inet_ntoa((block + n).to_bytes(4, "big")) for n in (1, 2)
        )

    def listener(self) -> socket.socket:
        """A listening socket at the far end; what it accepts is there too."""
        made: list[socket.socket | BaseException] = []

        def listen() -> None:
            try:
                self._enter()
                made.append(socket.create_server((self.address, 0)))
            except BaseException as error:
                made.append(error)

        thread = threading.Thread(target=listen, name="far-end")
        thread.start()
        thread.join()
        (answer,) = made
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def down(self) -> None:
        """The far end is unplugged: what is sent goes nowhere, and nothing comes."""
        _ip("-n", self._name, "link", "set", self._far, "down")

    def up(self) -> None:
        _ip("-n", self._name, "link", "set", self._far, "up")

    def near_down(self) -> None:
        """Our own interface is down: its routes are gone, its address stays."""
        _ip("link", "set", self._near, "down")

    def near_up(self) -> None:
        _ip("link", "set", self._near, "up")

    def __enter__(self) -> Self:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            raise LinkUnavailable("network links take root and the program 'ip' (iproute2)")
        try:
            _ip("netns", "add", self._name)
            _ip(
                *("link", "add", self._near, "type", "veth"),
                *("peer", "name", self._far, "netns", self._name),
            )
            _ip("addr", "add", f"{self._near_address}/30", "dev", self._near)
            _ip("-n", self._name, "addr", "add", f"{self.address}/30", "dev", self._far)
            _ip("-n", self._name, "link", "set", "lo", "up")
            self.near_up()
            self.up()
        except subprocess.CalledProcessError as error:
            self.__exit__(None, None, None)
            said = error.stderr.strip()
            refusal = LinkUnavailable(f"no network links can be made here: {said}")
            refusal.refused = True
            raise refusal from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # first: with the namespace alone they would go some time later
        for command in (("link", "del", self._near), ("netns", "del", self._name)):
            subprocess.run(["ip", *command], check=False, capture_output=True)

    def _enter(self) -> None:
        """Take this thread to the far end. ``os.setns`` comes with Python 3.12."""
        libc = ctypes.CDLL(None, use_errno=True)
        namespace = os.open(_NAMESPACES / self._name, os.O_RDONLY)
        try:
            if libc.setns(namespace, _CLONE_NEWNET):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            os.close(namespace)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
