"""An instance with a store of its own gets a directory server: prepared for it, its facts there, `CS.cfg` saying so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from vouchd.cloning.directory_setup import directory_values, set_up_directory
from vouchd.cloning.following import mirror_of
from vouchd.cloning.moving import copy_facts
from vouchd.cloning.needs import MemberServices, OpenStore, Say
from vouchd.directory.config_entries import SERVICE_DN
from vouchd.directory.connection import Connection, Credentials, open_as_manager
from vouchd.directory.one_way import require_not_theirs
from vouchd.directory.suffix import clear_facts, holds_facts
from vouchd.errors import AlreadyExists, ConfigError, VouchdError
from vouchd.instance.configuration import write_values
from vouchd.settings.declared import DirectorySettings
from vouchd.settings.passwords import INTERNALDB, read_passwords


@dataclass(frozen=True, slots=True)
class NewDirectory:
    """The server that will keep the facts, and who may prepare it; `domain` is the security domain's name."""

    named: DirectorySettings
    manager: str
    password: str = field(repr=False)
    domain: str

    def require_unused(self) -> None:
        """Return when the server can be reached as its manager and no instance keeps facts there.

        Raises: StoreUnavailable, ConfigError; AlreadyExists.
        """
        server = self.named.server
        with self._as_manager() as admin:
            require_not_theirs(admin, server.suffix)
            if holds_facts(admin, server.suffix):
                raise AlreadyExists(
                    f"{server.suffix} on {server.address} has the facts of an instance already",
                    hint="take another suffix or server; a further member of that set: vouchd clone create",
                )

    def take(self, services: MemberServices, open_store: OpenStore, say: Say) -> int:
        """Prepare the server, copy the facts of the embedded store there, switch over; how many facts were copied.

        May be repeated after it was cut short. Raises: ConfigError, StoreError.
        """
        layout, embedded = services.layout, mirror_of(services.store)
        if embedded is None or services.settings.of_set.master:
            raise ConfigError("only an instance with a store of its own can move to a directory server")
        if INTERNALDB not in read_passwords(layout.password_conf):  # else it was begun before
            self.require_unused()
        set_up_directory(layout, self.named, (self.manager, self.password), say, clone=False, domain=self.domain)
        settings = replace(services.settings, directory=replace(self.named, bind_dn=SERVICE_DN))
        with services.ingest_lock():
            store = open_store(layout, settings)
            try:
                count = copy_facts(embedded.facts(), services.store, store)
            finally:
                store.close()
            write_values(layout, {**directory_values(self.named, in_use=True), "securitydomain.name": self.domain})
        return count

    def clear(self) -> None:
        """Take the facts away again of an instance that did not come to be, as far as the server can be reached."""
        with suppress(VouchdError), self._as_manager() as admin:
            clear_facts(admin, self.named.server.suffix)

    @contextmanager
    def _as_manager(self) -> Iterator[Connection]:
        credentials = Credentials(self.manager, self.password)
        connection = open_as_manager(self.named.server, credentials, self.named.trust_file)
        try:
            yield connection
        finally:
            connection.close()
