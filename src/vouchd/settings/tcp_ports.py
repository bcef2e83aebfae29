"""The ports of an instance, what each takes at the most, and the keys that it is known by."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

from vouchd.settings.keys import KnownKey, composed, key
from vouchd.settings.kinds import (
    FILE,
    NETWORKS,
    PATHS,
    PORT,
    TEXT,
    choice,
    integer,
)

_DAY = 86400


@dataclass(frozen=True, slots=True)
class EEPort:
    """The end-entity port: OCSP over plain HTTP, served by the worker processes."""

    # A responder is a public service: all addresses unless told otherwise.
    host: str = key("vouchd.ee.host", TEXT, "0.0.0.0", "Address of the EE port; :: for IPv6.")  # noqa: S104
    port: int = key("vouchd.ee.port", PORT, 8080, "TCP port of OCSP; 0: chosen by the system.")
    workers: int = key("vouchd.ee.workers", integer(0, 256), 0, "Worker processes; 0: one per core.")
    max_header_bytes: int = key(
        "vouchd.ee.maxHeaderBytes", integer(256, 1 << 20), 16384, "Request line and headers together.", unit="bytes"
    )
    max_body_bytes: int = key(
        "vouchd.ee.maxBodyBytes", integer(64, 1 << 24), 65536, "An OCSP request, POST or GET.", unit="bytes"
    )
    idle_seconds: int = key(
        "vouchd.ee.idleInSec", integer(1, _DAY), 75, "A connection without a request is closed after.", unit="seconds"
    )
    header_seconds: int = key(
        "vouchd.ee.headerInSec", integer(1, _DAY), 10, "A request must be complete after.", unit="seconds"
    )
    max_connections: int = key(
        "vouchd.ee.maxConnections", integer(1, 1_000_000), 10000, "Open connections of one worker."
    )
    max_in_flight: int = key(
        "vouchd.ee.maxInFlight", integer(1, 1_000_000), 256, "Signatures waiting in one worker; beyond: tryLater."
    )
    paths: tuple[str, ...] = key(
        "vouchd.ee.paths", PATHS, (), "Paths of the service besides /, /ocsp and /ocsp/ee/ocsp, as /ca/ocsp."
    )
    allowed: tuple[IPv4Network | IPv6Network, ...] = key(
        "vouchd.ee.allowed",
        NETWORKS,
        (),
        "Who may ask for answers, there and at the agent port, by the address that the connection comes from; empty:"
        " anyone.",
    )
    ipv4_prefix: int = key(
        "vouchd.ee.ipv4Prefix", integer(1, 32), 24, "IPv4 clients alike in so many bits share a turn for signatures."
    )
    ipv6_prefix: int = key(
        "vouchd.ee.ipv6Prefix", integer(1, 128), 56, "IPv6 clients alike in so many bits share a turn for signatures."
    )
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = key(
        "vouchd.ee.trustedProxies", NETWORKS, (), "Who is believed whom it asks for (X-Forwarded-For)."
    )
    cache_entries: int = key(
        "vouchd.ee.cacheEntries", integer(0, 10_000_000), 100_000, "Complete answers kept by one worker."
    )
    cache_bytes: int = key(
        "vouchd.ee.cacheBytes",
        integer(0, 1 << 40),
        128 << 20,
        "What they take at most, with all that leads to them.",
        unit="bytes",
    )


@dataclass(frozen=True, slots=True)
class HealthPort:
    """The port of /healthz, /readyz and /metrics, served by the manager process."""

    host: str = key("vouchd.health.host", TEXT, "127.0.0.1", "Address of /healthz, /readyz and /metrics.")
    port: int = key("vouchd.health.port", PORT, 8081, "TCP port of the same; 0: chosen by the system.")


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """Where a system key of the instance is, and its certificate when it has come."""

    key_file: Path  # encrypted PKCS #8 PEM; its password is `internal` in password.conf
    certificate_file: Path  # PEM: the certificate, then those between it and the CA

    @property
    def installed(self) -> bool:
        """Whether both are there."""
        return self.key_file.exists() and self.certificate_file.exists()


def key_files(
    prefix: str, name: str, about_key: str, about_certificate: str = "Its certificate and chain (PEM)."
) -> Any:
    """A field of type KeyFiles, by the keys that begin with `prefix` and the file names that begin with `name`."""
    return composed(
        KeyFiles,
        key_file=KnownKey(f"{prefix}.key", FILE, f"alias/{name}.key", about_key),
        certificate_file=KnownKey(f"{prefix}.certificate", FILE, f"alias/{name}.pem", about_certificate),
    )


@dataclass(frozen=True, slots=True)
class AgentPort:
    """The agent port: TLS with client certificates, served by the manager process; off until `tls.installed`."""

    tls: KeyFiles = key_files(
        "vouchd.agent",
        "sslserver",
        "Its encrypted PKCS #8 key (PEM, 0600).",
        "Its TLS server certificate and chain (PEM); the port is off until it is there.",
    )
    # Agents and publishing CAs come from other hosts.
    host: str = key("vouchd.agent.host", TEXT, "0.0.0.0", "Address of the agent port; :: for IPv6.")  # noqa: S104
    port: int = key("vouchd.agent.port", PORT, 8443, "TCP port of agents and publishing CAs (TLS).")
    trust_file: Path | None = key(
        "vouchd.agent.trust", FILE, "", "CAs of client certificates besides the registered CAs (PEM)."
    )
    min_tls: str = key("vouchd.agent.minTLS", choice("1.2", "1.3"), "1.2", "The oldest version of TLS that is spoken.")
    ciphers: str = key(
        "vouchd.agent.ciphers",
        TEXT,
        "",
        "The cipher suites of TLS 1.2, as `openssl ciphers` writes them; empty: those of the host's TLS library.",
    )
    max_header_bytes: int = key(
        "vouchd.agent.maxHeaderBytes",
        integer(1024, 1 << 20),
        16384,
        "Request line and headers together.",
        unit="bytes",
    )
    max_body_bytes: int = key(
        "vouchd.agent.maxBodyBytes",
        integer(1024, 1 << 31),
        256 << 20,
        "A request's body, a CRL's mostly: it comes as a form, so base64.",
        unit="bytes",
    )
    idle_seconds: int = key(
        "vouchd.agent.idleInSec",
        integer(1, _DAY),
        75,
        "A connection without a request is closed after.",
        unit="seconds",
    )
    header_seconds: int = key(
        "vouchd.agent.headerInSec",
        integer(1, _DAY),
        10,
        "Handshake and headers must be complete after.",
        unit="seconds",
    )
    body_seconds: int = key(
        "vouchd.agent.bodyInSec", integer(1, _DAY), 300, "A request's body must be complete after.", unit="seconds"
    )
    max_connections: int = key(
        "vouchd.agent.maxConnections", integer(1, 100_000), 1000, "Open connections of the agent port."
    )
    max_per_address: int = key(
        "vouchd.agent.maxPerAddress", integer(1, 100_000), 100, "Those of one address that have shown no certificate."
    )
