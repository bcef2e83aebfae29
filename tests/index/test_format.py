"""The index file of an epoch: what was put in is found again, nothing else is, and damage is noticed."""

from __future__ import annotations

import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.pkix import crls
from tests.pkix.crls import crl, entry, invalidity, reason

from vouchd.errors import CRLRejected, IndexFileError, StoreUnavailable
from vouchd.index import sorting
from vouchd.index.format import RevocationIndexFile, SerialSetFile, intact
from vouchd.index.octets import MappedOctets, PositionedOctets
from vouchd.index.writing import write_crl_index, write_index, write_serials
from vouchd.pkix.crl import read_header
from vouchd.pkix.crl_entries import entries
from vouchd.pkix.packed import minimal, pack_time, unpack_time
from vouchd.pkix.reasons import Reason, RevocationEntry

SERIALS = st.binary(min_size=1, max_size=24)
TIMES = st.integers(-60_000_000_000, 250_000_000_000)
REASONS = st.sampled_from([reason for reason in Reason if reason is not Reason.REMOVE_FROM_CRL])
ENTRIES = st.builds(RevocationEntry, SERIALS, TIMES, REASONS, st.none() | TIMES)


def number(serial: bytes) -> int:
    return int.from_bytes(serial, "big", signed=True)


def octets(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


@pytest.fixture(autouse=True)
def small_runs(monkeypatch):
    """Few entries do what millions would: runs on disk, ranges merged."""
    monkeypatch.setattr(sorting, "RUN_RECORDS", 8)
    monkeypatch.setattr(sorting, "RANGE_RECORDS", 4)
    monkeypatch.setattr(sorting, "_SAMPLE_EVERY", 2)


@given(st.lists(ENTRIES, max_size=60, unique_by=lambda e: number(e.serial)), st.lists(SERIALS, max_size=20))
def test_index_equals_a_dict_of_its_entries(tmp_path_factory, listed, others):
    """Every serial listed is found with its facts, any other is not, and the order is that of the numbers."""
    path = tmp_path_factory.mktemp("index") / "x.idx"
    assert write_index(path, iter(listed)) == len(listed)
    index = RevocationIndexFile(path)
    model = {number(e.serial): e for e in listed}
    assert len(index) == len(model)
    for serial in [e.serial for e in listed] + others:
        revocation, expected = index.find(serial), model.get(number(serial))
        assert (revocation and revocation.serial) == (expected and minimal(expected.serial))
        assert (revocation and facts(revocation)) == (expected and facts(expected))
    numbers = [number(e.serial) for e in index]
    positive = [n for n in numbers if n >= 0]
    assert positive == sorted(n for n in model if n >= 0)
    assert numbers[len(positive) :] == sorted(n for n in model if n < 0)


def facts(entry: RevocationEntry):
    return entry.revocation_time, entry.reason, entry.invalidity_date


@given(TIMES)
def test_packed_time_is_the_same_second(seconds):
    """A time survives packing, in this century and in any other."""
    assert unpack_time(pack_time(seconds)) == seconds


def test_times_around_the_range_of_utc_time_are_packed():
    """The years 1950 and 2049 are UTCTime, their neighbours are not."""
    edges = (-631152001, -631152000, 2524607999, 2524608000)
    assert [unpack_time(pack_time(t)) for t in edges] == list(edges)
    assert [pack_time(t)[0] for t in edges] == [0x18, 0x17, 0x17, 0x18]


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 1000])
def test_index_of_any_size_finds_all_its_entries(tmp_path, monkeypatch, count):
    """Empty files, and files around the number of records for one fence key."""
    monkeypatch.undo()
    path = tmp_path / "x.idx"
    write_index(path, (RevocationEntry(octets(3 * i), i) for i in reversed(range(count))))
    index = RevocationIndexFile(path)
    assert len(index) == count
    assert all(index.find(octets(3 * i)).revocation_time == i for i in range(count))
    assert not any(index.find(octets(3 * i + 1)) for i in range(-1, count + 1))


@pytest.mark.parametrize("every", [1, 2, 31, 300])
def test_places_of_keys_are_where_the_file_has_them(tmp_path, every):
    """Positions are the same whether many keys are looked for or few, and keys that are not there have none."""
    present = [octets(3 * value) for value in range(1, 1001)]
    path = tmp_path / "a.idx"
    write_index(path, [RevocationEntry(serial, 1, Reason.ABSENT) for serial in present])
    file = RevocationIndexFile(path)
    in_order = file.keys(0, len(file), file.key_width)
    absent = [(int.from_bytes(key) + 1).to_bytes(file.key_width) for key in in_order]
    chosen = sorted([*in_order[::every], *absent[::every]])
    assert file.places(chosen) == {key: place for place, key in enumerate(in_order) if place % every == 0}


def test_empty_serial_is_found_nowhere(tmp_path):
    """No octets are no serial, not the number zero."""
    write_index(tmp_path / "x.idx", [RevocationEntry(b"\x00", 1)])
    index = RevocationIndexFile(tmp_path / "x.idx")
    assert index.find(b"\x00").revocation_time == 1
    assert index.find(b"") is None


def test_serial_wider_than_the_index_is_not_found(tmp_path):
    """A serial of more octets than any in the file is not mistaken for its last octets."""
    write_index(tmp_path / "x.idx", [RevocationEntry(b"\x05", 1)])
    index = RevocationIndexFile(tmp_path / "x.idx")
    assert index.find(b"\x01" + bytes(8) + b"\x05") is None
    assert index.find(b"\xff" + bytes(8) + b"\x05") is None


@pytest.mark.parametrize("turned", [False, True])
def test_serial_listed_twice_counts_once_whatever_the_order(tmp_path, turned):
    """A final revocation goes before a hold, then the earlier one; the order of the list does not matter."""
    listed = [
        RevocationEntry(b"\x05", 10, Reason.CERTIFICATE_HOLD),
        RevocationEntry(b"\x05", 20, Reason.KEY_COMPROMISE),
        RevocationEntry(b"\x05", 30, Reason.ABSENT),
        RevocationEntry(b"\x06", 1),
    ]
    assert write_index(tmp_path / "x.idx", reversed(listed) if turned else listed) == 2
    assert RevocationIndexFile(tmp_path / "x.idx").find(b"\x05") == listed[1]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_serials_of_one_ending_are_each_kept_once(tmp_path_factory, pairs):
    """Serials that differ in any octet are two, however alike they end; what is listed again counts once."""
    path = tmp_path_factory.mktemp("index") / "x.idx"
    serials = [high << 48 | low for high, low in pairs]
    assert write_index(path, [RevocationEntry(octets(serial), 1) for serial in serials]) == len(set(serials))
    assert [number(e.serial) for e in RevocationIndexFile(path)] == sorted(set(serials))


# From CRLs


def crl_index(path, der, issuer=None) -> int:
    return write_crl_index(path, der, read_header(der), issuer)


def test_index_of_a_crl_has_its_entries(tmp_path):
    """The file holds what the CRL lists, also when wider serials and dates turn up late."""
    der = crl(
        *(entry(octets(i), *([reason(1)] if i & 1 else [])) for i in range(40)),
        entry(b"\x01" * 20, invalidity(b"20250101000000Z")),
        entry(b"\x7f" * 40),
    )
    assert crl_index(tmp_path / "x.idx", der) == 42
    index = RevocationIndexFile(tmp_path / "x.idx")
    assert sorted(index, key=lambda e: e.serial) == sorted(entries(der, read_header(der)), key=lambda e: e.serial)


def test_malformed_crl_leaves_no_file(tmp_path):
    """A CRL that is refused at its last entry leaves nothing behind."""
    with pytest.raises(CRLRejected):
        crl_index(tmp_path / "x.idx", crl(*(entry(octets(i)) for i in range(40)), entry(b"")))
    assert list(tmp_path.iterdir()) == []


def test_index_of_an_indirect_crl_has_the_entries_of_one_issuer(tmp_path):
    """RFC 5280 5.3.3: each CA has its own file of the entries for its certificates."""
    der = crl(entry(b"\x01"), entry(b"\x02", crls.certificate_issuer(crls.OTHER)), extensions=(crls.INDIRECT,))
    assert crl_index(tmp_path / "a.idx", der) == 1
    assert crl_index(tmp_path / "b.idx", der, issuer=crls.OTHER) == 1
    assert RevocationIndexFile(tmp_path / "a.idx").find(b"\x01")
    assert RevocationIndexFile(tmp_path / "b.idx").find(b"\x02")


# Serials


@given(st.lists(SERIALS, max_size=60), st.lists(SERIALS, max_size=20))
def test_serial_file_equals_a_set(tmp_path_factory, listed, others):
    """What was issued is in the file, however often it was listed, and nothing else is."""
    path = tmp_path_factory.mktemp("index") / "x.ser"
    model = {number(serial) for serial in listed}
    assert write_serials(path, iter(listed)) == len(model)
    issued = SerialSetFile(path)
    assert all((serial in issued) == (number(serial) in model) for serial in listed + others)
    assert sorted(number(issued.at(position)) for position in range(len(issued))) == sorted(model)


@pytest.mark.parametrize("serial", [b"", b"\x01" * 65])
def test_serial_of_impossible_size_is_refused(tmp_path, serial):
    """No serial has no octets, and none more than 64."""
    with pytest.raises(ValueError, match="serial number of"):
        write_serials(tmp_path / "x.ser", [serial])
    with pytest.raises(ValueError, match="serial number of"):
        write_index(tmp_path / "x.idx", [RevocationEntry(serial, 0)])


# Files


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "x.idx"
    write_index(path, (RevocationEntry(octets(i), i) for i in range(600)))
    return path


def test_writing_is_idempotent_and_private(path):
    """The same entries in another order give the same bytes, readable by the owner only."""
    before = path.read_bytes()
    write_index(path, (RevocationEntry(octets(i), i) for i in reversed(range(600))))
    assert path.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o600


def test_every_damaged_header_octet_is_noticed_at_opening(path):
    """Magic, version, sizes and count are under a checksum."""
    whole = path.read_bytes()
    for place in range(64):
        path.write_bytes(whole[:place] + bytes((whole[place] ^ 0x40,)) + whole[place + 1 :])
        with pytest.raises(IndexFileError) as error:
            RevocationIndexFile(path)
        assert error.value.hint


@pytest.mark.parametrize(
    ("place", "octets"),
    [(10, b"\x07"), (11, b"\x02"), (12, b"\0\0"), (14, b"\0\0"), (12, b"\0\x05")],
    ids=["kind", "columns", "no key", "no record", "another record"],
)
def test_header_of_an_impossible_shape_is_damage_though_its_checksum_is_right(path, place, octets):
    """A file that no version of this program wrote is made again, as any damaged one is."""
    header = bytearray(path.read_bytes()[:60])
    header[place : place + len(octets)] = octets
    overwrite(path, 0, bytes(header) + zlib.crc32(header).to_bytes(4, "big"))
    assert intact(path) is None
    with pytest.raises(IndexFileError):
        RevocationIndexFile(path)


def test_empty_index_of_no_key_width_is_damage(tmp_path):
    """Where there are no records their size says nothing, and the shape is looked at all the same."""
    path = tmp_path / "x.idx"
    write_index(path, iter(()))
    header = bytearray(path.read_bytes()[:60])
    header[12:14] = b"\0\0"
    overwrite(path, 0, bytes(header) + zlib.crc32(header).to_bytes(4, "big"))
    assert intact(path) is None


@pytest.mark.parametrize("size", [0, 10, 63, 64, 1000, -1])
def test_file_cut_short_is_noticed_at_opening(path, size):
    """What a crash of the disk may leave is not searched."""
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(IndexFileError):
        RevocationIndexFile(path)
    assert intact(path) is None


def test_missing_file_is_an_index_file_error(tmp_path):
    """A missing file is rebuilt like a damaged one."""
    with pytest.raises(IndexFileError):
        RevocationIndexFile(tmp_path / "none")
    assert intact(tmp_path / "none") is None


def overwrite(path, place: int, octets: bytes) -> None:
    """Change the file that is mapped, as a disk or a careless program does."""
    with path.open("r+b") as file:
        file.seek(place)
        file.write(octets)


@pytest.mark.parametrize("opened", [MappedOctets, PositionedOctets])
def test_flipped_octet_is_never_another_answer(path, opened):
    """Wherever an octet differs from what was written, a search says what was written or that the file is damaged."""
    whole = path.read_bytes()
    serials = [0, 1, 31, 32, 255, 256, 511, 599]
    for place in range(64, len(whole), 7):
        damaged: list[str] = []
        index = RevocationIndexFile(path, octets=opened, damaged=damaged.append)
        overwrite(path, place, bytes((whole[place] ^ 0x41,)))
        for serial in serials:
            try:
                assert index.find(octets(serial)).revocation_time == serial
            except IndexFileError:
                assert damaged
            try:
                assert index.find(octets(10**6 + serial)) is None
                assert index.find(octets(-1 - serial)) is None
            except IndexFileError:
                assert damaged
        overwrite(path, place, whole[place : place + 1])


@pytest.mark.parametrize("opened", [MappedOctets, PositionedOctets])
def test_octet_flipped_after_it_was_read_is_noticed_when_it_is_read_again(path, opened):
    """That a block was in order once is not remembered: memory and disks fail later, too."""
    index = RevocationIndexFile(path, octets=opened)
    assert index.find(octets(5)).revocation_time == 5
    overwrite(path, 64 + 5 * 26 + 8, b"\x07")  # the serial 5 becomes a second 7
    with pytest.raises(IndexFileError, match="checksum"):
        index.find(octets(5))
    assert index.find(octets(300)).revocation_time == 300


def test_other_whole_index_in_place_of_the_mapped_one_is_damage(path, tmp_path):
    """An empty list, whole in itself, written over the file that is mapped takes nobody's revocation away."""
    index = RevocationIndexFile(path, octets=MappedOctets)
    write_index(tmp_path / "other.idx", (RevocationEntry(octets(10**4 + i), i) for i in range(600)))
    overwrite(path, 0, (tmp_path / "other.idx").read_bytes())
    with pytest.raises(IndexFileError):
        index.find(octets(5))


def test_file_of_another_name_is_not_taken_for_this_one(path, tmp_path):
    """A name stands for one CRL of one CA: a copy of another's file is noticed at opening."""
    path.replace(tmp_path / "y.idx")
    with pytest.raises(IndexFileError, match="another's name"):
        RevocationIndexFile(tmp_path / "y.idx")
    assert intact(tmp_path / "y.idx") is None


def test_file_of_the_former_format_is_made_again(path):
    """A file without checksums of its blocks is no index file of this program; the store has what it was made of."""
    fields = bytearray(path.read_bytes()[:60])
    fields[8:10] = (1).to_bytes(2, "big")
    overwrite(path, 0, bytes(fields) + zlib.crc32(fields).to_bytes(4, "big"))
    with pytest.raises(IndexFileError, match="format 1"):
        RevocationIndexFile(path)


def test_file_cut_short_after_opening_is_an_error_where_it_is_not_mapped(path):
    """Whoever does not map a file is not killed by what happens to it."""
    damaged: list[str] = []
    index = RevocationIndexFile(path, damaged=damaged.append)
    os.truncate(path, 200)
    with pytest.raises(IndexFileError):
        index.find(octets(599))
    with pytest.raises(IndexFileError):
        list(index)
    assert set(damaged) == {"x.idx"}


def test_damaged_record_is_noticed_by_verifying(path):
    """Opening is cheap; the checksum of the records is for whoever asks."""
    whole = bytearray(path.read_bytes())
    assert intact(path) is not None
    whole[100] ^= 1
    path.write_bytes(whole)
    with pytest.raises(IndexFileError, match="checksum"):
        RevocationIndexFile(path).verify()
    assert intact(path) is None


def test_kinds_are_not_confused(path):
    """A file of serials is no index of revocations, nor the other way round."""
    with pytest.raises(IndexFileError, match="revocations"):
        SerialSetFile(path)
    write_serials(path, [b"\x05"])
    assert intact(path) is not None
    with pytest.raises(IndexFileError, match="serials"):
        RevocationIndexFile(path)


def test_mapped_file_survives_being_replaced_and_removed(path):
    """A worker answers from the old file until it has loaded the new one."""
    index = RevocationIndexFile(path, octets=MappedOctets)
    write_index(path, [])
    path.unlink()
    assert index.find(b"\x05").revocation_time == 5


def test_folder_that_cannot_be_written_is_unavailable(tmp_path):
    """Errors of the file system become errors of ours."""
    with pytest.raises(StoreUnavailable):
        write_index(tmp_path / "none" / "x.idx", (RevocationEntry(octets(i), i) for i in range(20)))
    with pytest.raises(StoreUnavailable):
        crl_index(tmp_path / "none" / "x.idx", crl(*(entry(octets(i)) for i in range(20))))


@given(st.integers(-(1 << 200), 1 << 200), st.integers(0, 5))
def test_minimal_serial_is_the_der_integer(value, padding):
    """Whatever repeats the sign goes, nothing else does."""
    fill = b"\xff" if value < 0 else b"\x00"
    expected = der_integer(value)
    assert minimal(fill * padding + expected) == expected


def der_integer(value: int) -> bytes:
    size = (value if value >= 0 else ~value).bit_length() // 8 + 1
    return value.to_bytes(size, "big", signed=True)
