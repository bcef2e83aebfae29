"""A master with a real 389 Directory Server, ready to be cloned, and servers for its clones."""

from __future__ import annotations

from contextlib import contextmanager

from tests.ds389 import HOSTS, PASSWORD, SUFFIX, Directory, directories
from tests.whole.clones import CloneSet, clone_set

from vouchd.core.facts import Transport
from vouchd.instance.configuration import write_values

NAMES = ("m", "c", "d")


@contextmanager
def directory_set(
    folder, transport: Transport, count: int = 2, *, names=NAMES, running: bool = False, settings=None, **made_so
):
    """A master that is ready to be cloned, and directory servers, `made_so`, for it and for `count - 1` clones.

    A master that is `running` when it is given its directory server and prepared restarts each time. `settings` are
    lines `vouchd.clone.…` for its CS.cfg.
    """
    hosts, tls = list(HOSTS)[:count], transport is not Transport.PLAIN
    with directories(*hosts, tls=tls, **made_so) as servers, clone_set(folder) as made:
        made.hosts = {name: (host, HOSTS[host]) for name, host in zip(names, hosts, strict=False)}
        made.write("manager.password", PASSWORD)
        made.make_master(start=running)
        url, *rest = reached(servers[0], transport)
        made.run("directory", "use", "--instance", "m", "--url", url, *rest, "--password-file", "manager.password")
        write_values(made.layout("m"), {f"vouchd.clone.{name}": str(value) for name, value in (settings or {}).items()})
        made.prepare()
        if not running:
            made.run("start", "--instance", "m")
        yield made, dict(zip(names, servers, strict=False))


def reached(server: Directory, transport: Transport, prefix: str = "") -> list[str]:
    """The URL of a server in that transport and the options that belong to it."""
    url = f"{server.secure_url if transport is Transport.TLS else server.url}/{SUFFIX}"
    starttls = ["--starttls"] if transport is Transport.STARTTLS else []
    trust = [f"--{prefix}trust", str(server.trust)] if transport is not Transport.PLAIN else []
    return [url, *starttls, *trust]


def clone(site: CloneSet, name: str, server: Directory, transport: Transport) -> list[str]:
    """The words of `clone create` with that server."""
    url, *rest = reached(server, transport, "directory-")
    return site.create(name, "--directory", url, *rest, "--directory-password-file", "manager.password")
