"""A CRL that comes to a clone which follows its master is handed on as it came."""

from __future__ import annotations

from contextlib import suppress
from unittest import mock

from tests.pki import CA

from vouchd.cloning.following import ForwardedIngesting
from vouchd.errors import ClientError
from vouchd.files import Spool
from vouchd.service.permission import local_caller


def test_crl_that_is_handed_on_stays_in_the_file_where_it_lies():
    """The master is sent the very view of the octets that were put aside, not a copy in memory."""
    spool = Spool()
    spool.write(CA.create("Forwarding CA").crl())
    sent = []

    def add_crl(crl: object) -> None:
        sent.append(crl)
        raise ClientError("the master is away")

    ingesting = ForwardedIngesting(
        mock.Mock(), mock.Mock(), mock.Mock(), mock.Mock(), mock.Mock(), lambda: mock.Mock(add_crl=add_crl)
    )
    with suppress(ClientError):
        ingesting.accept_crl(spool.view(), "a test", local_caller("tests"), 0)
    assert sent[0] is spool.view()
