"""What is loaded of aiohttp."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.pki import CA

LOADED = """
import ssl
from vouchd.agent.loading import without_trust
with without_trust():
    from aiohttp import connector
contexts = connector._SSL_CONTEXT_VERIFIED, connector._SSL_CONTEXT_UNVERIFIED, ssl.create_default_context()
print(*(context.cert_store_stats()["x509_ca"] for context in contexts))
"""


@pytest.mark.process
def test_aiohttp_is_loaded_without_what_its_client_trusts(tmp_path):
    """What this host trusts is not read for a client that nothing uses, and is trusted afterwards as ever."""
    (tmp_path / "trusted.pem").write_bytes(CA.create("Trusted CA").pem)
    environment = os.environ | {"SSL_CERT_FILE": str(tmp_path / "trusted.pem"), "SSL_CERT_DIR": str(tmp_path)}
    command = [sys.executable, "-c", LOADED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "0", "1"]
