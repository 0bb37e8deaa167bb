"""How the page is served."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from dfanerf_rt.errors import DfanerfError


@dataclass(frozen=True)
class WebConfig:
    """Checked when it is made.

    Raises:
        DfanerfError: an address other than this machine's own without a token, half a certificate, a limit below 1.
    """

    host: str = "127.0.0.1"
    port: int = 8090
    token: str | None = None
    """What a browser has to know; needed wherever others can reach the page."""
    certificate: Path | None = None
    """PEM; with it the page is served over TLS."""
    key: Path | None = None
    most_sessions: int = 4
    most_upload_bytes: int = 20_000_000
    most_upload_s: float = 600.0
    """Longest sound file that is spoken."""
    silent_browser_s: float = 10.0
    """A browser that says nothing for so long has vanished. It speaks every two seconds."""
    connect_s: float = 20.0
    """A browser that has not connected by then never will."""

    def __post_init__(self) -> None:
        if not self.is_local and not self.token:
            raise DfanerfError(
                f"--host {self.host} lets others reach the page: give a secret with --token or DFANERF_TOKEN "
                "(and --certificate and --key, without which browsers give no microphone)"
            )
        if self.token is not None and len(self.token) < 8:
            raise DfanerfError("the token has fewer than 8 characters; take a longer one")
        if (self.certificate is None) != (self.key is None):
            raise DfanerfError("--certificate and --key go together")
        if self.most_sessions < 1:
            raise DfanerfError(f"--sessions is {self.most_sessions}, expected at least 1")
        if not 0 <= self.port < 65536:
            raise DfanerfError(f"--port is {self.port}, expected 0 to 65535")

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the page."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def scheme(self) -> str:
        """http or https."""
        return "https" if self.certificate else "http"

    def tls(self) -> ssl.SSLContext | None:
        """What aiohttp needs to serve over TLS; None where it shall not.

        Raises:
            DfanerfError: the certificate or its key cannot be used.
        """
        if self.certificate is None or self.key is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as fault:
            raise DfanerfError(f"{self.certificate} with {self.key}: no usable certificate ({fault})") from fault
        return context
