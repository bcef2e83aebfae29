"""The users of an instance that is asked over its agent port, with the acts of `service.users`."""

from __future__ import annotations

from collections.abc import Iterable

from vouchd.cli import told
from vouchd.client.admin import AdminClient
from vouchd.core.facts import Caller, Group, User
from vouchd.pkix.pem import as_pem

NOBODY = Caller("", frozenset(), "")  # over the port the caller is whose certificate it is


class UsersThere:
    """The same acts with the same results and errors; who calls is told by the client's certificate."""

    def __init__(self, asked: AdminClient) -> None:
        self._asked = asked

    def users(self, _caller: Caller) -> tuple[User, ...]:
        """All users by id."""
        return tuple(told.user(one) for one in self._asked.get("users"))

    def find(self, user_id: str, _caller: Caller) -> User:
        """One user."""
        return told.user(self._asked.get("users", user_id))

    def add(
        self,
        user_id: str,
        _caller: Caller,
        *,
        full_name: str = "",
        groups: Iterable[Group] = (),
        certificates: Iterable[bytes] = (),
    ) -> User:
        """Make a user; certificates are DER."""
        body = {
            "id": user_id,
            "full_name": full_name,
            "groups": [str(group) for group in groups],
            "certificates": [as_pem(der) for der in certificates],
        }
        return told.user(self._asked.post("users", body=body))

    def remove(self, user_id: str, caller: Caller) -> User:
        """Remove a user."""
        user = self.find(user_id, caller)
        self._asked.delete("users", user_id)
        return user

    def set_groups(self, user_id: str, groups: Iterable[Group], _caller: Caller) -> User:
        """Make these its groups."""
        return told.user(self._asked.patch("users", user_id, body={"groups": [str(group) for group in groups]}))

    def set_enabled(self, user_id: str, _caller: Caller, *, enabled: bool) -> User:
        """Refuse it, or let it in again."""
        return told.user(self._asked.patch("users", user_id, body={"enabled": enabled}))

    def add_certificate(self, user_id: str, certificate: bytes, _caller: Caller) -> User:
        """Let it in with this one (DER) too."""
        return told.user(self._asked.post("users", user_id, "certificates", body={"certificate": as_pem(certificate)}))

    def remove_certificate(self, user_id: str, reference: str, caller: Caller) -> User:
        """Take the certificate away that `reference` names."""
        self._asked.delete("users", user_id, "certificates", reference)
        return self.find(user_id, caller)
