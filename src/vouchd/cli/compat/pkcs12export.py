"""`PKCS12Export`: the Certificate System's command of that name, over an instance's `alias` folder.

As there, every key in the database goes into the file, the TLS server's too.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Annotated

import typer

from vouchd.cli import output
from vouchd.cli.options import read_password
from vouchd.errors import SigningError, VouchdError
from vouchd.signing.certificates import read_certificates
from vouchd.signing.keys import read_key
from vouchd.signing.pkcs12 import KeyBag, write_key_file

app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]}, rich_markup_mode=None)


@app.command()
def pkcs12_export(
    database: Annotated[Path, typer.Option("-d", metavar="DIR", help="The folder of keys, such as vouchd/alias.")],
    database_password: Annotated[
        Path, typer.Option("-p", metavar="FILE", help="File (0600) with the password of the keys, or password.conf.")
    ],
    password_file: Annotated[
        Path, typer.Option("-w", metavar="FILE", help="File (0600) with the password of the PKCS #12 file.")
    ],
    out: Annotated[Path, typer.Option("-o", metavar="FILE", help="Where the PKCS #12 file goes (0600).")],
    debug: Annotated[bool, typer.Option("-debug", help="Tell what is done, and where an error happened.")] = False,
) -> None:
    """Write all keys of a folder with their certificates into one PKCS #12 file.

    Example: PKCS12Export -d vouchd/alias -p vouchd/password.conf -w p12.password -o keys.p12
    """
    try:
        bags = list(_bags(database, read_password(database_password, database).removeprefix("internal="), debug=debug))
        if not bags:
            raise SigningError(f"{database}: holds no key with its certificate")
        write_key_file(out, bags, read_password(password_file, out))
    except VouchdError:
        if debug:
            traceback.print_exc()
        raise
    output.say(f"{len(bags)} keys exported to {out}")


def _bags(folder: Path, password: str, *, debug: bool) -> list[KeyBag]:
    """Each `NAME.key` that has its `NAME.pem`."""
    if not folder.is_dir():
        raise SigningError(f"{folder}: not a folder", hint="give -d the alias folder of an instance")
    bags = []
    for path in sorted(folder.glob("*.key")):
        beside = path.with_suffix(".pem")
        if not beside.exists():
            if debug:
                output.note(f"{path.name}: its certificate has not come yet")
            continue
        certificate, *above = read_certificates(beside)
        bags.append(KeyBag(read_key(path, password), certificate, tuple(above), path.stem))
        if debug:
            output.note(f"{path.name}: {certificate.subject.rfc4514_string()}")
    return bags


def main() -> None:
    """Run the command; every error ends in words and an exit code."""
    output.run_to_its_end(app)
