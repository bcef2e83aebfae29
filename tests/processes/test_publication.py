"""From a real store to real files: what is published is what workers load."""

from __future__ import annotations

import logging
import os
import zlib
from contextlib import nullcontext
from dataclasses import replace

import pytest
from tests.memory_store import MemoryStore
from tests.pki import CA, DAY, HOUR, NOW, serial_octets
from tests.service.recording import ADMIN, AGENT, PUBLISHER, RecordingAudit
from tests.service.world import REMOVE, partition

from vouchd.errors import IndexFileError, StoreUnavailable
from vouchd.index import journal
from vouchd.index.folder import IndexFolder
from vouchd.index.format import RevocationIndexFile
from vouchd.index.manifest import MANIFEST, load_manifest
from vouchd.processes.publication import LEAST_SECONDS, ManifestPublication, folds_at
from vouchd.processes.store_watch import Published
from vouchd.service.authorities import Authorities
from vouchd.service.indexing import Indexing
from vouchd.service.ingesting import Ingesting
from vouchd.service.permission import Permission


class Site:
    """One CA, a store in memory and an index folder on disk."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.ca = CA.create()
        self.store = MemoryStore()
        self.indexing = Indexing(self.store, IndexFolder(folder))
        audit = RecordingAudit()
        permission = Permission(audit)
        self.authorities = Authorities(self.store, permission, audit)
        self.ingesting = Ingesting(self.store, self.indexing, permission, audit)
        self.authority = self.authorities.add(self.ca.der, AGENT, label="Site CA").subject
        self.publication = self.open()

    def open(self, *, quiet: bool = True) -> ManifestPublication:
        """A publication as a new manager process has it."""
        return ManifestPublication(self.store, self.indexing, self.folder, lambda: nullcontext(quiet))

    def accept(self, number: int, *serials: int) -> None:
        crl = self.ca.crl(dict.fromkeys(serials), number=number, this_update=NOW - HOUR + number, next_update=NOW + DAY)
        self.ingesting.accept_crl(crl, "push", PUBLISHER, NOW)

    def loaded(self, serial: int) -> bool:
        """Whether a worker that loads the manifest now finds the serial revoked."""
        (authority,) = load_manifest(self.folder).authorities
        return any(point.index.find(serial_octets(serial)) is not None for point in authority.points)

    @property
    def index_files(self) -> set[str]:
        return {path.name for path in self.folder.glob("*.idx")}


@pytest.fixture
def site(tmp_path):
    return Site(tmp_path)


def test_nothing_published_yet_is_version_zero(site, caplog):
    """A folder without a manifest has nothing to serve, which is said once however often it is looked at."""
    with caplog.at_level(logging.INFO):
        assert site.publication.current() == site.publication.current() == Published(0)
    assert [record.message.startswith("nothing to serve yet") for record in caplog.records] == [True]


def test_index_file_of_an_unknown_kind_keeps_nobody_from_starting(site):
    """Whatever a file says of itself under a right checksum, it is made again as a damaged one is."""
    site.accept(1, 5)
    site.publication.publish()
    (name,) = site.index_files
    whole = bytearray((site.folder / name).read_bytes())
    whole[10] = 7
    whole[60:64] = zlib.crc32(whole[:60]).to_bytes(4, "big")
    (site.folder / name).write_bytes(whole)
    site.indexing = Indexing(site.store, IndexFolder(site.folder))
    publication = site.open()
    publication.current()
    publication.publish()
    assert site.loaded(5)


def test_crl_that_only_names_its_point_is_published_as_leaving_serials_unknown(site):
    """That what it does not list is unknown is said with the line that mends it, until the CA's policy is mended."""
    named = partition("http://ca.test/all.crl")
    crl = site.ca.crl({5: None}, number=1, this_update=NOW - HOUR, next_update=NOW + DAY, idp=named)
    site.ingesting.accept_crl(crl, "push", PUBLISHER, NOW)
    (uncovered,) = site.publication.publish().uncovered
    assert (uncovered.label, "names its distribution point" in uncovered.notice) == ("Site CA", True)
    assert uncovered.mend.endswith("--named-point-covers-all")
    assert site.open().current().uncovered == (uncovered,)
    policy = replace(site.authority.policy, named_point_covers_all=True)
    site.authorities.set_policy(site.authority.id, policy, ADMIN)
    assert site.publication.publish().uncovered == ()


def test_accepted_crl_is_published_for_workers(site):
    """What was accepted is in the files that a worker loads, and in the report."""
    site.accept(1, 5, 6)
    published = site.publication.publish()
    assert (published.version, site.loaded(5), site.loaded(7)) == (1, True, False)
    (point,) = published.points
    assert (point.label, point.sequence, point.crl_number, point.entries) == ("Site CA", 1, 1, 2)
    assert point.index_bytes == (site.folder / next(iter(site.index_files))).stat().st_size


def test_unchanged_facts_keep_the_version(site):
    """Publishing the same facts again writes nothing, so no worker has to load."""
    site.accept(1, 5)
    first = site.publication.publish()
    written = (site.folder / MANIFEST).stat()
    assert site.publication.publish() == first
    assert (site.folder / MANIFEST).stat() == written


def test_new_crl_and_new_policy_raise_the_version(site):
    """Each change of a CRL or of a policy is a new version."""
    site.accept(1, 5)
    site.publication.publish()
    site.accept(2, 5, 6)
    assert site.publication.publish().version == 2
    site.authorities.remove(site.authority.id, AGENT)
    after = site.publication.publish()
    assert (after.version, after.points, after.epochs) == (3, (), {})


def test_restarted_manager_goes_on_with_the_version_on_disk(site):
    """After a restart unchanged facts are served at once, under the version that they have."""
    site.accept(1, 5)
    before = site.publication.publish()
    restarted = site.open()
    for _ in range(2):
        published = restarted.current()
        assert (published, published.former) == (before, 0)
    assert restarted.publish() == before
    site.accept(2, 6)
    assert restarted.publish().version == 2


def test_restarted_manager_holds_the_facts_of_the_store_alone(site):
    """What the manifest had of them, which is the same, is not in memory a second time; the state is as it was."""
    site.accept(1, 5)
    site.publication.publish()
    restarted = site.open()
    restarted.current()
    before = restarted.state
    assert before.authorities[0].authority is site.store.authorities()[0]
    assert before.authorities[0].points[0].epoch is site.store.epochs()[0]
    published = restarted.publish()
    assert restarted.state == before
    (stored,), (served,) = site.store.authorities(), restarted.state.authorities
    (epoch,), (point,) = site.store.epochs(), served.points
    assert served.authority is stored
    assert point.epoch is epoch
    assert [*published.epochs.values()] == [(epoch,)]
    assert point.index is before.authorities[0].points[0].index


@pytest.mark.parametrize("damage", [b"", b"{", b"\x00" * 200])
def test_damaged_files_are_made_anew(site, damage):
    """A damaged manifest or index never comes to the workers: both are made from the store."""
    site.accept(1, 5)
    site.publication.publish()
    for path in site.folder.iterdir():
        path.write_bytes(damage)
    restarted = site.open()
    assert restarted.current() == Published(0)
    restarted.publish()
    assert site.loaded(5)


def test_files_of_earlier_versions_are_removed_when_told(site):
    """Old index files stay until it is said that nobody loads them any more."""
    site.accept(1, 5)
    site.publication.publish()
    old = site.index_files
    site.accept(2, 6)
    site.publication.publish()
    assert old < site.index_files
    assert site.publication.tidy() is True
    assert not old & site.index_files
    assert site.loaded(6)


def test_files_are_kept_while_a_crl_is_taken_in(site):
    """A file that is being made for the next epoch is not mistaken for garbage."""
    site.accept(1, 5)
    site.accept(2, 6)
    before = site.index_files
    busy = site.open(quiet=False)
    busy.publish()
    assert busy.tidy() is False
    assert site.index_files == before


def test_what_is_behind_is_published_without_the_store(site):
    """A CA of which another member has a newer CRL is so marked although the store cannot be read."""
    site.accept(1, 5)
    behind: set[str] = set()
    publication = ManifestPublication(
        site.store, site.indexing, site.folder, lambda: nullcontext(True), lambda: frozenset(behind)
    )
    version = publication.publish().version
    assert publication.retell().version == version
    behind.add(site.authority.id)
    manifest = publication.retell()
    assert (manifest.version, manifest.behind) == (version + 1, {site.authority.id})
    assert [served.behind for served in load_manifest(site.folder).authorities] == [True]
    assert [point.label for point in manifest.points] == ["Site CA"]


def flip(path) -> None:
    """Change one octet of a record in place, as a failing disk does: the time of change stays."""
    status = path.stat()
    whole = bytearray(path.read_bytes())
    whole[70] ^= 1
    with path.open("r+b") as file:
        file.write(whole)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_index_that_a_worker_found_damaged_is_made_again_from_the_store(site):
    """Damage that nothing but the checksum shows is mended under a new version, so that everybody opens the file."""
    site.accept(1, 5, 6)
    before = site.publication.publish()
    (name,) = site.index_files
    whole = (site.folder / name).read_bytes()
    flip(site.folder / name)
    site.publication.suspect([name])
    assert site.publication.doubtful
    after = site.publication.publish()
    assert (after.version, after.repairs) == (before.version + 1, 1)
    assert (site.folder / name).read_bytes() == whole
    assert site.loaded(5)
    assert not site.publication.doubtful


def test_damage_that_the_manager_comes_across_itself_is_mended(site):
    """What explains an answer at the agent port reads the same files, and tells as well."""
    site.accept(1, 5, 6)
    site.publication.publish()
    (name,) = site.index_files
    flip(site.folder / name)
    with pytest.raises(IndexFileError):
        site.publication.state.authorities[0].points[0].index.find(serial_octets(5))
    assert site.publication.doubtful
    assert site.publication.publish().repairs == 1
    assert site.publication.state.authorities[0].points[0].index.find(serial_octets(5)) is not None


def test_publishing_opens_only_the_files_that_changed(site):
    """A new CRL of one CA costs one opening, however many issuing points there are."""
    other = CA.create("Other CA")
    site.authorities.add(other.der, AGENT, label="Other CA")
    site.ingesting.accept_crl(other.crl({9: None}, number=1), "push", PUBLISHER, NOW)
    site.accept(1, 5)
    site.publication.publish()
    kept = {index.epoch.index_name: index.index for one in site.publication.state.authorities for index in one.points}
    site.accept(2, 5, 6)
    site.publication.publish()
    now = {index.epoch.index_name: index.index for one in site.publication.state.authorities for index in one.points}
    assert [now[name] is kept[name] for name in now if name in kept] == [True]


def test_published_manifest_tells_the_cas_that_it_has_otherwise_than_the_one_before(site):
    """With the CAs of which the epochs are other ones the next look at what is served costs what changed."""
    other = CA.create("Other CA")
    authority = site.authorities.add(other.der, AGENT, label="Other CA").subject
    site.accept(1, 5)
    first = site.publication.publish()
    assert (first.former, first.changed) == (0, {site.authority.id, authority.id})
    site.ingesting.accept_crl(other.crl({9: None}, number=1), "push", PUBLISHER, NOW)
    second = site.publication.publish()
    assert (second.former, second.changed) == (first.version, {authority.id})
    assert {each for each in second.epochs if second.epochs[each] is not first.epochs[each]} == {authority.id}
    site.authorities.remove(authority.id, AGENT)
    third = site.publication.publish()
    assert (third.former, third.changed) == (second.version, {authority.id})
    assert site.publication.publish() == third
    assert site.open().current().changed == {site.authority.id}


# Deltas


class Hours:
    """A clock that goes when a test says so."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> int:
        return self.at


def delta(site: Site, number: int, changes) -> None:
    crl = site.ca.crl(changes, number=number, base=1, this_update=NOW - HOUR + number, next_update=NOW + DAY)
    site.ingesting.accept_crl(crl, "push", PUBLISHER, NOW)


def suffixes(folder) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir() if path.name != MANIFEST)


def test_delta_is_published_beside_its_base_which_stays_open(site):
    """A delta costs a file of its own: the base's is neither written nor opened again."""
    site.accept(1, *range(1, 50))
    site.publication.publish()
    (before,) = site.publication.state.authorities[0].points
    delta(site, 2, {5: REMOVE, 60: None})
    published = site.publication.publish()
    (after,) = site.publication.state.authorities[0].points
    assert after.index.base is before.index
    assert suffixes(site.folder) == [".delta", ".idx"]
    assert ([point.entries for point in published.points], site.loaded(5), site.loaded(60)) == ([49], False, True)


def test_delta_that_stays_is_folded_and_answered_from_one_file(site):
    """After its time base and delta are one file, under a new version; then the delta's own is removed."""
    clock = Hours()
    publication = ManifestPublication(
        site.store, site.indexing, site.folder, lambda: nullcontext(True), frozenset, clock
    )
    site.accept(1, *range(1, 50))
    delta(site, 2, {5: REMOVE, 60: None})
    layered = publication.publish()
    assert not publication.fold()
    clock.at += LEAST_SECONDS
    assert publication.fold()
    assert publication.doubtful
    folded = publication.publish()
    assert (folded.version, publication.doubtful) == (layered.version + 1, False)
    (point,) = publication.state.authorities[0].points
    assert isinstance(point.index, RevocationIndexFile)
    assert (site.loaded(5), site.loaded(60), site.loaded(49)) == (False, True, True)
    assert not publication.fold()
    assert publication.tidy()
    assert suffixes(site.folder) == [".idx", ".idx"]  # folded, and the base for the next delta
    delta(site, 3, {5: REMOVE, 61: None})
    publication.publish()
    assert (site.loaded(5), site.loaded(60), site.loaded(61)) == (False, False, True)
    assert publication.tidy()
    assert suffixes(site.folder) == [".delta", ".idx"]


def test_delta_of_a_large_base_has_to_stand_for_longer(site):
    """Folding takes a small fixed share of processor and disk, however often deltas come."""
    site.accept(1, 5)
    (epoch,) = site.store.epochs()
    large = replace(epoch, base=replace(epoch.base, entry_count=10_000_000))
    assert folds_at(epoch) == epoch.accepted_at + LEAST_SECONDS
    assert folds_at(large) == epoch.accepted_at + 1000


def test_fold_that_fails_costs_no_answer(site, monkeypatch):
    """A full disk leaves base and delta, from which everything is answered."""
    clock = Hours()
    publication = ManifestPublication(
        site.store, site.indexing, site.folder, lambda: nullcontext(True), frozenset, clock
    )
    site.accept(1, *range(1, 50))
    delta(site, 2, {5: REMOVE})
    before = publication.publish()
    clock.at += LEAST_SECONDS

    def full(*_: object) -> None:
        raise StoreUnavailable("no space left on device")

    monkeypatch.setattr(site.indexing, "fold", full)
    assert publication.fold()
    assert publication.publish() == before
    assert (site.loaded(5), site.loaded(6)) == (False, True)


# What cannot be loaded


def test_manifest_that_workers_cannot_load_is_written_anew(site):
    """A worker that fails is not told of the same file again and again: everything that it reads is made anew."""
    site.accept(1, 5)
    before = site.publication.publish()
    (site.folder / MANIFEST).write_bytes(b"damaged")
    for path in site.folder.glob("*.idx"):
        path.unlink()
    site.publication.suspect_all(manifest=True)
    assert site.publication.publish().version == before.version + 1
    assert site.loaded(5)


def test_looking_at_everything_publishes_nothing_where_all_is_well(site):
    """What is looked at now and then tells no worker to load."""
    site.accept(1, 5)
    before = site.publication.publish()
    site.publication.suspect_all()
    assert site.publication.publish() == before


def test_failed_manifest_takes_its_version_with_it(site, monkeypatch):
    """A line that may be on disk, or not, is of a version that does not come again."""
    site.accept(1, 5)
    first = site.publication.publish()
    site.accept(2, 5, 6)

    def full(*_: object, **__: object) -> None:
        raise StoreUnavailable("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "extend_file", full)
        with pytest.raises(StoreUnavailable):
            site.publication.publish()
    assert site.publication.state.version == first.version
    assert site.publication.publish().version == first.version + 2
    assert site.loaded(6)
