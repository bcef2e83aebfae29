"""The OpenAPI document of all operations, made once for the tests that read it."""

from __future__ import annotations

from vouchd.api.openapi import document
from vouchd.api.table import OPERATIONS

DOCUMENT = document(OPERATIONS)
