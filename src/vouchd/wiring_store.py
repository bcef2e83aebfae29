"""The store put together: settings -> the embedded one, or the one in a directory server."""

from __future__ import annotations

from vouchd.core.ports import Store
from vouchd.errors import ConfigError
from vouchd.settings.layout import Layout
from vouchd.settings.passwords import INTERNALDB, read_passwords
from vouchd.settings.declared import Settings
from vouchd.cloning.followed_store import FollowedStore
from vouchd.stores.sqlite.store import SqliteStore


def open_store(layout: Layout, settings: Settings) -> Store:
    """The store that the settings name. A directory is connected to when it is first asked.

    Raises: StoreError; ConfigError when there is no password for the directory, or no LDAP library.
    """
    directory = settings.directory
    if directory is None:
        return FollowedStore(settings.store) if settings.of_set.master else SqliteStore(settings.store)
    from vouchd.stores.ldap.store import DirectoryStore  # noqa: PLC0415  the embedded store starts without it

    password = read_passwords(layout.password_conf).get(INTERNALDB)
    if not password:
        raise ConfigError(
            f"{layout.password_conf}: no password of {directory.bind_dn}",
            hint=f"add a line {INTERNALDB}=PASSWORD, or run `vouchd directory setup`",
        )
    return DirectoryStore(directory.server, directory.bind_dn, password, directory.trust_file)
