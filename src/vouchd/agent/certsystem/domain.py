"""The domain as the Certificate System shows it: JSON of its REST API, XML of its older pages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from xml.sax.saxutils import escape

from vouchd.core.facts import Member

_SUBSYSTEMS = ("CA", "KRA", "OCSP", "TKS", "RA", "TPS")


def domain_info(name: str, members: Iterable[Member]) -> dict[str, Any]:
    """`domainInfo`: the hosts of each subsystem type."""
    subsystems: dict[str, dict[str, Any]] = {}
    for member in members:
        hosts = subsystems.setdefault(member.subsystem, {"id": member.subsystem, "Host": {}})
        ports = _host(member)
        name_of_host = {"id": _host_id(member), "Hostname": ports.pop("Host")}
        hosts["Host"][_host_id(member)] = name_of_host | ports
    return {"id": name, "Subsystem": subsystems}


def domain_xml(name: str, members: Iterable[Member]) -> str:
    """`getDomainXML`: an XMLResponse with DomainInfo, itself XML, as text in it."""
    everyone = tuple(members)
    lists = "".join(_list(kind, [one for one in everyone if one.subsystem == kind]) for kind in _SUBSYSTEMS)
    head = '<?xml version="1.0" encoding="UTF-8" standalone="no"?>'
    info = f"{head}<DomainInfo><Name>{escape(name)}</Name>{lists}</DomainInfo>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?><XMLResponse><Status>0</Status>'
        f"<DomainInfo>{escape(info)}</DomainInfo></XMLResponse>"
    )


def _list(kind: str, members: list[Member]) -> str:
    entries = "".join(
        f"<{kind}>{''.join(f'<{name}>{escape(value)}</{name}>' for name, value in _host(one).items())}</{kind}>"
        for one in members
    )
    return f"<{kind}List>{entries}<SubsystemCount>{len(members)}</SubsystemCount></{kind}List>"


def _host_id(member: Member) -> str:
    return f"{member.subsystem} {member.host} {member.secure_port}"


def _host(member: Member) -> dict[str, str]:
    port = str(member.secure_port)
    return {
        "Host": member.host,
        "Port": str(member.ee_port),
        "SecurePort": port,
        "SecureEEClientAuthPort": port,
        "SecureAgentPort": port,
        "SecureAdminPort": port,
        "SubsystemName": member.name,
        "Clone": str(member.clone).upper(),
        "DomainManager": str(not member.clone).upper(),
    }
