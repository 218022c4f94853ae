"""Certificates for the tests' servers, made by the program ``openssl``."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.servers.process import ServerUnavailable


class Authority:
    """One that signs certificates, in a folder of its own."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.folder = folder
        self.name = name
        if shutil.which("openssl") is None:
            raise ServerUnavailable("no program 'openssl' here")
        self.certificate = folder / f"{name}.pem"
        self._key = folder / f"{name}.key"
        self._openssl(
            *(
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                f"/CN={name}",
            ),
            *("-keyout", self._key, "-out", self.certificate),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        )

    def sign(self, name: str, *hosts: str) -> tuple[Path, Path]:
        """A certificate for these hosts (``DNS:…``, ``IP:…``), and its key."""
        request, key = self.folder / f"{name}.csr", self.folder / f"{name}.key"
        certificate, extensions = self.folder / f"{name}.crt", self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={','.join(hosts)}\n")
        self._openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
            *("-keyout", key, "-out", request),
        )
        self._openssl(
            *("x509", "-req", "-in", request, "-days", "2", "-out", certificate),
            *("-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial"),
            *("-extfile", extensions),
        )
        return certificate, key

    def _openssl(self, *arguments: str | Path) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
