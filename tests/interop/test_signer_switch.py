"""Clients of all makers accept every answer before, during and after the signer changes, forth and back."""

from __future__ import annotations

import threading
from collections import Counter
from itertools import groupby
from typing import Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.interop.clients import Clients
from tests.interop.site import Site, vouchd
from tests.processes.running import eventually

from vouchd.client.inquiry import new_nonce, question, send, serial_of
from vouchd.client.transport import Connection
from vouchd.clock import SystemClock

pytestmark = [pytest.mark.interop, pytest.mark.process]

SIGNER = "ocspSigningCert"
OURS = "vouchd"
_PAUSE_SECONDS = 0.05  # between two questions of a client: the instance that restarts needs the processor more


class Asking:
    """Every client asks again and again, each in a thread of its own; what it made of each answer is kept."""

    def __init__(self, site: Site, clients: Clients) -> None:
        self._site = site
        self._over = threading.Event()
        self.act = "before"
        self.wrong: list[tuple[str, str, str, str]] = []  # act, client, status as it should be, what it made of it
        self.counts: Counter[tuple[str, str]] = Counter()  # of the answers accepted that were asked for in an act
        self.signers: list[str] = []  # as our own client saw them, one after the other
        self._leaves = {"good": site.good, "revoked": site.revoked, "unknown": site.unknown}
        works = [(name, lambda leaf, ask=ask: ask(site, leaf)) for name, ask in clients.by_name.items()]
        works.append((OURS, self._ours))
        self._threads = [threading.Thread(target=self._ask_on, args=work) for work in works]
        self.names = [name for name, _ in works]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask_on(self, name: str, ask) -> None:
        while not self._over.is_set():
            for status, leaf in self._leaves.items():
                act = self.act
                try:
                    verdict = ask(leaf)
                except Exception as error:  # noqa: BLE001  whatever a client stumbles over is its verdict
                    verdict = repr(error)
                if verdict != status:
                    self.wrong.append((act, name, status, verdict))
                self.counts[act, name] += 1
                self._over.wait(_PAUSE_SECONDS)

    def _ours(self, leaf) -> str:
        """What our own client makes of it, with a nonce."""
        issuer, der = (
            x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)
            for path in (self._site.ca_file, leaf.file)
        )
        with Connection(self._site.url) as connection:
            query = question(issuer, [serial_of(der, issuer)], nonce=new_nonce())
            verified = send(connection, query).verify(SystemClock().now())
        self.signers.append(verified.signer.subject.rfc4514_string() + hex(verified.signer.serial_number))
        return verified.singles[0].status

    def until_all_asked(self) -> None:
        """Wait until each client has had an answer about each certificate that it asked for in the present act."""
        eventually(
            lambda: self.wrong or all(self.counts[self.act, name] >= len(self._leaves) for name in self.names),
            lambda: f"all have asked: {self.counts}",
        )


def signs_with(site: Site) -> int:
    """The number of the key that signs."""
    (signer,) = vouchd("signer", "list", "--instance", site.instance)
    return next(one["number"] for one in signer["versions"] if one["state"] == "current")


@pytest.mark.parametrize("site", [("P-256", "SHA256withEC")], indirect=True, ids=["ECDSA"])
def test_every_client_accepts_every_answer_while_the_signer_changes(site, clients):
    """To RSA, back to the key from before, and to a renewed one: no client refuses an answer, and none sees new, old, new."""
    renew = ("signer", "renew", SIGNER, "--ca", site.ca_folder, "--instance", site.instance)
    acts = {
        "another algorithm": ((*renew, "--algorithm", "SHA256withRSA"), 2),
        "rolled back": (("signer", "switch", SIGNER, 1, "--instance", site.instance), 1),
        "renewed": ((*renew, "--algorithm", "SHA256withEC"), 3),
    }
    with Asking(site, clients) as asking:
        asking.until_all_asked()
        for act, (words, number) in acts.items():
            asking.act = f"to {act}"
            vouchd(*words)
            eventually(lambda number=number: signs_with(site) == number, f"signed with key {number}")
            asking.act = act
            asking.until_all_asked()
    assert asking.wrong == []
    assert len([signer for signer, _ in groupby(asking.signers)]) == 1 + len(acts)
    assert len(set(asking.signers)) == len(acts)
