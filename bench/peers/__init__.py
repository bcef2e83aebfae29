"""Other OCSP responders beside ours: one CA, one CRL, the same questions, the same load maker, in one run.

All that a responder costs counts, in whichever of its processes; where other things run, read the processor time. Each
of them is measured by itself, from its start to its end, with a signer of P-256, or of RSA-2048 where it can no other.
One that cannot be had here is a row that says why.
"""

from __future__ import annotations

from bench.figures import Figure
from bench.instance import instance
from bench.make_crl import entries
from bench.peers.cfssl import CFSSL
from bench.peers.dogtag import Dogtag
from bench.peers.measuring import Result, measure
from bench.peers.openssl import OpenSSL
from bench.peers.peer import ENTRIES, Peer, Site
from bench.peers.rows import elsewhere, rows
from bench.peers.vouchd import Vouchd

PEERS: tuple[Peer, ...] = (OpenSSL(), CFSSL(), Dogtag())


def figures(seconds: int, rounds: int) -> list[Figure]:
    """All rows, and those of responders that are not measured here."""
    made = []
    for key in ("EC", "RSA"):
        made += rows(_results(key, seconds, rounds), key)
    return made + elsewhere()


def _results(key: str, seconds: int, rounds: int) -> list[Result]:
    with instance(key, workers=1) as running:
        crl_file = running.write_crl(b"".join(entries(ENTRIES, "random")))
        site = Site(running.root, running.ca, running.key, crl_file)
        peers = (Vouchd(running), *(peer for peer in PEERS if key in peer.keys))
        return [measure(peer, site, seconds, rounds) for peer in peers]
