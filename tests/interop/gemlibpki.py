"""gematik's reference client (gemLibPki), run by hand over a master and a clone: `make gemlibpki`.

It refuses an answer whose producedAt is older than 37.5 seconds, so a CA whose clients use it needs live times. The jars
come from Maven, of these versions with these hashes; they take a network, so this stands beside the tests, not among
them. The check of status and of all three times is the library's own.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.processes.running import eventually
from tests.whole.clones import CloneSet, clone_set

JARS = {
    "de.gematik.pki:gemLibPki:3.3.1": "6cda5cc827c6f2787ab244d12c0a0430732be90ba421d3f54a0253b31d7e1562",
    "org.bouncycastle:bcprov-jdk18on:1.80": "e8ad209f8c58d291a37ca9750e9e9fac60596956c983e49dd8282381dd8b3249",
    "org.bouncycastle:bcpkix-jdk18on:1.80": "4f4ba6a92617ea19dc183f0fa5db492eee426fdde2a0a2d6c94777ffd1af6413",
    "org.bouncycastle:bcutil-jdk18on:1.80": "22eca687f7955411f456af33e6ea8e68fc73cd80cb8b32aa5f7a8b1827d7c678",
    "org.slf4j:slf4j-api:2.0.16": "a12578dde1ba00bd9b816d388a0b879928d00bab3c83c240f7013bf4196c579a",
}
SOURCE = Path(__file__).with_name("GemLibPkiCheck.java")
MAIN = "de.gematik.pki.gemlibpki.ocsp.GemLibPkiCheck"
REFUSED, ACCEPTED = "TE_1029", "accepted"
SLOT_SECONDS = 30
MEMBERS = ("m", "c")


def fetched(folder: Path) -> Path:
    """The folder of the jars, each as it is pinned."""
    for place, sha256 in JARS.items():
        _, name, version = place.split(":")
        copy = ("-Dartifact=" + place, f"-DoutputDirectory={folder}", "-Dmdep.useBaseVersion=true")
        subprocess.run(["mvn", "-q", "-B", "dependency:get", f"-Dartifact={place}", "-Dtransitive=false"], check=True)
        subprocess.run(["mvn", "-q", "-B", "dependency:copy", *copy], check=True)
        data = (folder / f"{name}-{version}.jar").read_bytes()
        assert hashlib.sha256(data).hexdigest() == sha256, f"{place} is not what it was"
    subprocess.run(["javac", "-cp", f"{folder}/*", "-d", folder, SOURCE], check=True)
    return folder


def verdicts(jars: Path, site: CloneSet, *, seconds_later: int = 0) -> list[str]:
    """What the library says of the answers that are in the files of the members."""
    files = [site.folder / f"{name}.der" for name in MEMBERS]
    command = ["java", "-cp", f"{jars}/*:{jars}", MAIN, site.folder / "good.crt", str(seconds_later), *files]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def ask(site: CloneSet) -> set[bytes]:
    """Have each member answer about `good` without a nonce; the answers."""
    for name in MEMBERS:
        (site.folder / f"{name}.der").write_bytes(site.said(name, "good"))
    return {(site.folder / f"{name}.der").read_bytes() for name in MEMBERS}


def check(site: CloneSet, jars: Path) -> None:
    """Without live times the answer grows too old for that client; with them it never does, on both members alike."""
    assert len(ask(site)) == 1
    late = verdicts(jars, site, seconds_later=SLOT_SECONDS + 30)
    assert all(REFUSED in one for one in late), late
    site.run("authority", "set", "CN=Lab CA", "--live-times", "--instance", "m")

    def live() -> bool:
        policies = [json.loads(site.run("authority", "list", "--json", "--instance", name)) for name in MEMBERS]
        return all(one["policy"]["live_times"] for rows in policies for one in rows)

    eventually(live, "live times on both members")
    begin = int(time.time()) // SLOT_SECONDS
    for slot in (begin, begin + 1):
        eventually(lambda slot=slot: int(time.time()) // SLOT_SECONDS >= slot, "the slot")
        eventually(lambda: len(ask(site)) == 1, "one answer in one slot")
        assert verdicts(jars, site) == [ACCEPTED] * len(MEMBERS)
        assert verdicts(jars, site, seconds_later=SLOT_SECONDS // 10) == [ACCEPTED] * len(MEMBERS)
    site.run("clone", "verify", "--instance", "m")


def main() -> None:
    """Fetch the jars, make master and clone, check."""
    with TemporaryDirectory() as folder, TemporaryDirectory() as place:
        jars = fetched(Path(place))
        with clone_set(Path(folder)) as site:
            site.make_prepared()
            site.run(*site.create("c"))
            check(site, jars)
    sys.stdout.write("gemLibPki accepts the answers of master and clone\n")


if __name__ == "__main__":
    main()
