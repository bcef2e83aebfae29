"""The serving manifest: what was written is what is served, and nothing half."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.contract.backends import SECOND, a_record, an_authority, an_epoch
from tests.manifests import write_manifest

from vouchd.core import issued, records
from vouchd.core.facts import AuthorityFacts, AuthorityPolicy, ExpiredCRLPolicy
from vouchd.errors import IndexFileError, StoreUnavailable
from vouchd.index.journal import JournalWriter
from vouchd.index.manifest import (
    MANIFEST,
    Difference,
    Manifest,
    ManifestWriter,
    load_manifest,
    read_served,
)
from vouchd.index.octets import AnsweringOctets
from vouchd.index.serving import OpenIndexes
from vouchd.index.writing import write_index, write_serials
from vouchd.pkix.reasons import RevocationEntry
from vouchd.service.admitting import Served

CA = an_authority("a", policy=AuthorityPolicy(expired_crl=ExpiredCRLPolicy.SERVE, issued_serials="ab" * 32))
OTHER = an_authority("b")
IDP = bytes.fromhex("30038101ff")  # onlyContainsUserCerts
FIRST = an_epoch(CA)
USERS = an_epoch(CA, base=a_record(SECOND), scope_id="cd" * 32, idp_der=IDP)


@pytest.fixture
def folder(tmp_path):
    """A folder with the files of one CA that has two issuing points and a list of issued serials."""
    write_index(tmp_path / FIRST.index_name, [RevocationEntry(b"\x05", 1000)])
    write_index(tmp_path / USERS.index_name, [RevocationEntry(b"\x06", 1000)])
    write_serials(tmp_path / issued.index_name("ab" * 32), [b"\x05", b"\x07"])
    return tmp_path


def test_load_manifest_gives_what_was_written(folder):
    """Authorities with policy, epochs with index and scope, issued serials and the version come back."""
    write_manifest(folder, 7, (CA, OTHER), (FIRST, USERS))
    state = load_manifest(folder)
    first, second = state.authorities
    assert state.version == 7
    assert (first.authority, second.authority, second.points, second.issued) == (CA, OTHER, (), None)
    assert [point.epoch for point in first.points] == [USERS, FIRST]  # in the order of their scope ids
    assert [point.scope.only_user for point in first.points] == [True, False]
    assert first.points[1].index.find(b"\x05") == RevocationEntry(b"\x05", 1000)
    assert first.points[0].index.find(b"\x05") is None
    assert b"\x07" in first.issued
    assert b"\x06" not in first.issued


def test_load_manifest_after_rewriting_gives_the_new_one_and_the_old_state_stays(folder):
    """A worker that has loaded goes on with its state until it loads again."""
    write_manifest(folder, 1, (CA,), (FIRST,))
    old = load_manifest(folder, OpenIndexes(folder, AnsweringOctets()))
    (folder / FIRST.index_name).unlink()
    write_manifest(folder, 2, (OTHER,), ())
    assert [each.authority for each in load_manifest(folder).authorities] == [OTHER]
    assert old.authorities[0].points[0].index.find(b"\x05") is not None


def test_manifest_that_goes_on_from_no_other_is_read_whole_whatever_its_version(folder):
    """A start that could read none begins with the first version, which a worker may have of the one before."""
    worker = Manifest(folder, OpenIndexes(folder))
    write_manifest(folder, 1, (CA,), (FIRST,))
    assert [each.authority for each in worker.load().authorities] == [CA]
    write_manifest(folder, 1, (OTHER,), ())
    state = worker.load()
    assert (state.version, [each.authority for each in state.authorities]) == (1, [OTHER])


def test_load_manifest_first_start_is_an_index_file_error_with_hint(tmp_path):
    """Before the first manifest there is nothing to serve, said as such."""
    with pytest.raises(IndexFileError) as caught:
        load_manifest(tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"format": 2, "version": 1, "authorities": [], "epochs": []}', "\x00" * 40]
)
def test_load_manifest_damaged_or_of_another_format_refused(tmp_path, text):
    """A manifest that cannot be read is never half understood."""
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(IndexFileError):
        load_manifest(tmp_path)


@pytest.mark.parametrize("name", [FIRST.index_name, issued.index_name("ab" * 32)])
@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_load_manifest_file_it_names_missing_or_damaged_refused(folder, name, damage):
    """A manifest without all its files is not served in part."""
    write_manifest(folder, 1, (CA,), (FIRST, USERS))
    (folder / name).unlink()
    if damage == "damaged":
        (folder / name).write_bytes(b"damaged")
    with pytest.raises(IndexFileError):
        load_manifest(folder)


def test_load_manifest_damaged_scope_refused(folder):
    """An epoch whose scope cannot be read is an error of the manifest, not of a CRL."""
    broken = replace(USERS, idp_der=b"\x30\x05")
    write_manifest(folder, 1, (CA,), (broken,))
    with pytest.raises(IndexFileError):
        load_manifest(folder)


def test_write_manifest_leaves_one_private_file(tmp_path):
    """The file has mode 0600 and nothing is left beside it."""
    path = write_manifest(tmp_path, 1, (OTHER,), ())
    assert [file.name for file in tmp_path.iterdir()] == [MANIFEST]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_write_manifest_folder_missing_unavailable(tmp_path):
    """A folder that cannot be written is StoreUnavailable."""
    with pytest.raises(StoreUnavailable):
        write_manifest(tmp_path / "nowhere", 1, (), ())


def test_loaded_state_names_what_changed_since_the_one_before(folder):
    """Who has prepared something for the other CAs may keep it; of any other state than the one before nothing is said."""
    files = OpenIndexes(folder, AnsweringOctets())
    write_manifest(folder, 7, (CA, OTHER), (FIRST, USERS))
    assert load_manifest(folder, files).changed_since(0) == {CA.id, OTHER.id}
    write_manifest(folder, 8, (CA, OTHER), (FIRST,))
    assert load_manifest(folder, files).changed_since(7) == {CA.id}
    write_manifest(folder, 9, (CA,), (FIRST,), behind=[CA.id])
    state = load_manifest(folder, files)
    assert state.changed_since(8) == {CA.id, OTHER.id}
    assert state.changed_since(7) is None


# Differences

CAS = [an_authority(name) for name in "abc"]
PARTITIONS = ["complete", "ab" * 32]
EPOCHS = st.dictionaries(st.sampled_from(PARTITIONS), st.integers(1, 3), max_size=2)
LABELS = st.sampled_from(["first", "second"])
STATES = st.dictionaries(st.sampled_from(range(len(CAS))), st.tuples(LABELS, EPOCHS, st.booleans()), max_size=3)


def facts_of(state) -> dict[str, AuthorityFacts]:
    facts = {}
    for number, (label, epochs, behind) in state.items():
        ca = replace(CAS[number], label=label)
        made = [
            replace(an_epoch(ca, scope_id=scope), sequence=sequence, accepted_at=sequence)
            for scope, sequence in sorted(epochs.items())
        ]
        facts[ca.id] = AuthorityFacts(ca, tuple(made), behind)
    return facts


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    """A folder with the index files of all states of the test that follows."""
    folder = tmp_path_factory.mktemp("indexes")
    for ca in CAS:
        for scope in PARTITIONS:
            write_index(folder / an_epoch(ca, scope_id=scope).index_name, [RevocationEntry(b"\x05", 1000)])
    return folder


@given(st.lists(STATES, min_size=1, max_size=6), st.sets(st.integers(0, 6)), st.booleans())
def test_manifest_of_differences_says_what_one_written_whole_says(indexed, states, late, restarted):
    """Whoever reads each difference, some of them at once, or all from the beginning, answers from the same facts."""
    (indexed / MANIFEST).unlink(missing_ok=True)
    writer, follower = ManifestWriter(indexed), Manifest(indexed)
    before: tuple[int, dict[str, AuthorityFacts]] = (0, {})
    for version, facts in enumerate(map(facts_of, states), 1):
        ids = before[1].keys() | facts.keys()
        if restarted and version == 3:
            writer = ManifestWriter(indexed)
        writer.write(before, facts, Difference.between(version, before[1], facts, (), ids))
        if version not in late or version == len(states):
            former = follower.version
            was = dict(follower.facts)
            state = follower.load()
            assert follower.facts == facts
            assert {one.authority.id: one.behind for one in state.authorities} == {
                each: one.behind for each, one in facts.items()
            }
            assert [one.authority for one in state.authorities] == sorted(
                (one.authority for one in facts.values()), key=lambda one: (one.label, one.id)
            )
            changed = state.changed_since(former)
            assert changed == {each for each in was.keys() | facts.keys() if was.get(each) != facts.get(each)}
        before = (version, facts)
    fresh = Manifest(indexed)
    assert (fresh.load().version, fresh.facts) == (follower.version, facts)
    assert read_served(indexed).facts == facts
    write_manifest(
        indexed,
        before[0],
        [one.authority for one in facts.values()],
        [epoch for one in facts.values() for epoch in one.epochs],
        [each for each, one in facts.items() if one.behind],
    )
    assert read_served(indexed).facts == facts


def test_facts_that_are_known_are_not_made_again_and_others_are_as_written(folder):
    """Of what is known already, as from the store, an equal fact is taken; one that differs is the manifest's."""
    write_manifest(folder, 7, (CA, OTHER), (FIRST, USERS))
    ours, newer = replace(OTHER, label="another one"), replace(FIRST, base=a_record(SECOND))
    manifest = Manifest(folder)
    manifest.load({CA.id: AuthorityFacts(CA, (USERS, newer)), OTHER.id: AuthorityFacts(ours)})
    assert manifest.facts == read_served(folder).facts
    assert manifest.facts[CA.id].authority is CA
    assert manifest.facts[CA.id].epochs[0] is USERS


def test_manifest_of_an_earlier_version_of_the_program_is_taken_over(folder):
    """After an upgrade nothing goes back behind what was served before it."""
    record = {
        "format": 1,
        "version": 7,
        "authorities": [records.authority_record(CA)],
        "epochs": [records.epoch_record(FIRST)],
        "behind": [],
        "verified": True,
    }
    (folder / "manifest.json").write_text(json.dumps(record))
    manifest = Manifest(folder)
    assert manifest.load().version == 7
    assert read_served(folder) == Served({CA.id: AuthorityFacts(CA, (FIRST,))}, verified=True)
    after = {CA.id: AuthorityFacts(CA, (USERS, FIRST))}
    writer = ManifestWriter(folder)
    writer.write((7, manifest.facts), after, Difference.between(8, manifest.facts, after, (), after))
    assert not (folder / "manifest.json").exists()
    assert (manifest.load().version, manifest.facts) == (8, after)


def test_one_crl_among_many_cas_costs_one_line_and_opens_one_file(tmp_path):
    """Neither in the manifest nor among the open files is anything of the others touched."""
    cas = [an_authority(str(number)) for number in range(50)]
    for ca in cas:
        write_index(tmp_path / an_epoch(ca).index_name, [RevocationEntry(b"\x05", 1000)])
    facts = {ca.id: AuthorityFacts(ca, (an_epoch(ca),)) for ca in cas}
    opened: list[str] = []

    def octets(path):
        opened.append(Path(path).name)
        return AnsweringOctets()(path)

    writer, manifest = ManifestWriter(tmp_path), Manifest(tmp_path, OpenIndexes(tmp_path, octets))
    writer.write((0, {}), facts, Difference.between(1, {}, facts, (), facts))
    first = manifest.load()
    size, opened[:] = (tmp_path / MANIFEST).stat().st_size, []
    newer = an_epoch(cas[7], base=a_record(SECOND))
    write_index(tmp_path / newer.index_name, [RevocationEntry(b"\x06", 1000)])
    after = facts | {cas[7].id: AuthorityFacts(cas[7], (newer,))}
    writer.write((1, facts), after, Difference.between(2, facts, after, (), [cas[7].id]))
    state = manifest.load()
    assert opened == [newer.index_name]
    assert state.changed_since(1) == {cas[7].id}
    assert (tmp_path / MANIFEST).stat().st_size - size < size / 10
    assert sum(one is other for one, other in zip(first.authorities, state.authorities, strict=True)) == len(cas) - 1


@pytest.mark.parametrize("count", [10, 1_000])
def test_no_piece_of_a_whole_grows_with_the_cas(tmp_path, monkeypatch, count):
    """Each CA's record is written by itself: those of many CAs are never all there."""
    pieces, begin = [], JournalWriter.begin
    monkeypatch.setattr(
        JournalWriter, "begin", lambda self, version, whole, *rest, **options: begin(
            self, version, (pieces.append(piece) or piece for piece in whole), *rest, **options
        )
    )  # fmt: skip
    cas = [an_authority(f"{number:x}") for number in range(count)]
    write_manifest(tmp_path, 1, cas, ())
    assert {one.authority for one in load_manifest(tmp_path).authorities} == set(cas)
    assert len(pieces) >= count
    assert max(map(len, pieces)) < 4096
