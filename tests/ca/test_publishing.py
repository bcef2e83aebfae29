"""Publishing: every target gets its chance, a file is whole, what failed is remembered."""

import pytest
from cryptography import x509
from tests.pki import NOW

from vouchd.ca.facts import CRLScope
from vouchd.ca.publishing import CallTarget, FolderTarget, parse_target, publish
from vouchd.errors import CRLStale, IssuanceError, NotFound, StoreUnavailable


def test_publish_to_folder_writes_full_and_delta_apart(manager, tmp_path):
    """A web folder holds NAME.crl and NAME-delta.crl, the bytes as made, readable by all."""
    target = FolderTarget(tmp_path / "www" / "crl")
    full, delta = manager.make_crl(NOW), manager.make_crl(NOW, delta=True)
    for crl in (full, delta):
        assert publish(manager, crl, [target], NOW)[0].failure is None
    assert (tmp_path / "www/crl/ca.crl").read_bytes() == full.der
    assert (tmp_path / "www/crl/ca-delta.crl").read_bytes() == delta.der
    assert (tmp_path / "www/crl/ca.crl").stat().st_mode & 0o777 == 0o644
    assert sorted(path.name for path in (tmp_path / "www/crl").iterdir()) == ["ca-delta.crl", "ca.crl"]


def test_publish_to_folder_keeps_scopes_apart(manager, tmp_path):
    """CRLs of different scopes never take each other's place."""
    for scope in CRLScope:
        publish(manager, manager.make_crl(NOW, scope=scope), [FolderTarget(tmp_path / "web")], NOW)
    assert sorted(path.name for path in (tmp_path / "web").iterdir()) == ["ca-ca.crl", "ca-user.crl", "ca.crl"]


def test_publish_to_folder_never_replaces_a_newer_crl(manager, tmp_path):
    """Two publishers may finish in any order: the newer CRL stays."""
    old, new = manager.make_crl(NOW), manager.make_crl(NOW)
    target = FolderTarget(tmp_path)
    publish(manager, new, [target], NOW)
    delivery = publish(manager, old, [target], NOW)[0]
    assert "newer" in str(delivery.failure)
    crl = x509.load_der_x509_crl((tmp_path / "ca.crl").read_bytes())
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == new.number
    assert publish(manager, new, [target], NOW)[0].failure is None


def test_publish_to_folder_replaces_junk(manager, tmp_path):
    """A damaged file at the place of the CRL is mended by the next publishing."""
    (tmp_path / "ca.crl").write_bytes(b"junk")
    crl = manager.make_crl(NOW)
    publish(manager, crl, [FolderTarget(tmp_path)], NOW)
    assert (tmp_path / "ca.crl").read_bytes() == crl.der


def test_publish_failure_of_one_target_does_not_stop_the_others(manager, tmp_path):
    """A responder that is away keeps no other from the CRL; deliveries tell which is which, in order."""

    def away(_):
        raise StoreUnavailable("the store is away")

    got = []
    targets = [
        CallTarget("call:a", away),
        CallTarget("call:b", lambda der: got.append(der) or "taken"),
        FolderTarget(tmp_path / "web"),
    ]
    crl = manager.make_crl(NOW)
    deliveries = publish(manager, crl, targets, NOW + 3)
    assert [delivery.failure is None for delivery in deliveries] == [False, True, True]
    assert got == [crl.der]
    assert deliveries[1].detail == "taken"
    assert [(t.specification, t.number, t.delivered_at) for t in manager.store.targets()] == [
        ("call:b", 1, NOW + 3),
        (f"dir:{tmp_path / 'web'}", 1, NOW + 3),
    ]


def test_publish_failure_of_a_known_target_is_remembered_until_it_succeeds(manager):
    """A known target keeps the number it last took beside the failure, so that what it misses is visible."""
    fail = False

    def deliver(_):
        if fail:
            raise CRLStale("older than what is held")
        return "taken"

    target = CallTarget("call:a", deliver)
    publish(manager, manager.make_crl(NOW), [target], NOW)
    fail = True
    publish(manager, manager.make_crl(NOW), [target], NOW + 1)
    (record,) = manager.store.targets()
    assert (record.number, record.delivered_at, record.failure) == (1, NOW, "older than what is held")
    fail = False
    publish(manager, manager.make_crl(NOW), [target], NOW + 2)
    (record,) = manager.store.targets()
    assert (record.number, record.delivered_at, record.failure) == (3, NOW + 2, None)
    manager.store.remove_target("call:a")
    assert manager.store.targets() == ()
    with pytest.raises(NotFound):
        manager.store.remove_target("call:a")


@pytest.mark.parametrize("text", ["", "dir", "dir:", "ftp:host", ":x"])
def test_parse_target_wrong_is_refused_with_the_known_kinds(text):
    """A target is KIND:PLACE of a known kind."""
    with pytest.raises(IssuanceError) as caught:
        parse_target(text, {"dir": FolderTarget})
    assert "dir:" in caught.value.hint
