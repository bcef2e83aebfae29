"""`vouchd token`: the tokens that the instance's keys are on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from cryptography.hazmat.primitives.serialization import load_der_public_key

from vouchd.cli import output
from vouchd.cli.options import DEFAULT_INSTANCE, InstanceOption, JsonOption
from vouchd.errors import NotFound, SigningError, VouchdError
from vouchd.instance.certificates.tokens import NamedToken, named_token, named_tokens
from vouchd.instance.lifecycle import require_instance
from vouchd.pkix.signatures import ALGORITHMS, algorithms_for, verify
from vouchd.settings.layout import Layout
from vouchd.signing.token.pool import OPEN_SECONDS
from vouchd.signing.token.session import Launcher, Session

app = typer.Typer(name="token", no_args_is_help=True, help="Tokens (PKCS #11, HSMs) that keys of an instance are on.")
FAILED = 1
_TRIALS = 20
_TRIAL = b"a trial signature of vouchd token test"

LabelArgument = Annotated[str, typer.Argument(metavar="LABEL", help="The token's label.")]


@app.command("list")
def list_(
    instance: InstanceOption = DEFAULT_INSTANCE,
    module: Annotated[
        Path | None, typer.Option("--module", metavar="FILE", help="Instead, all tokens that this module reaches.")
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """List the tokens that keys of the instance are on, and whether each can be used; or those of a module.

    Example: vouchd token list --module /usr/lib/softhsm/libsofthsm2.so
    """
    if module is not None:
        output.records(_reached(module), json_output=json_output, empty=f"{module}: reaches no token")
        return
    layout = _layout(instance)
    output.records(
        [_row(token) for token in named_tokens(layout)], json_output=json_output, empty="all keys are in files"
    )


def _reached(module: Path) -> list[dict[str, object]]:
    try:
        from vouchd.signing.token.device import tokens_of  # noqa: PLC0415  an extra of the installation
    except ModuleNotFoundError as error:
        raise SigningError("python-pkcs11 is not installed", hint="pip install 'vouchd[hsm]'") from error
    return tokens_of(module.absolute())


def _row(token: NamedToken) -> dict[str, object]:
    place = token.place
    state = "good"
    try:
        Launcher(place).open(OPEN_SECONDS).close()
    except SigningError as error:
        state = str(error)
    return {"token": place.name, "module": str(place.module), "keys": ", ".join(token.keys), "state": state}


@app.command()
def show(label: LabelArgument, instance: InstanceOption = DEFAULT_INSTANCE, json_output: JsonOption = False) -> None:
    """Show a token and the private keys on it; no key leaves it.

    Example: vouchd token show ocsp
    """
    token = named_token(_layout(instance), label)
    session = Launcher(token.place).open(OPEN_SECONDS)
    until = time.monotonic() + OPEN_SECONDS
    keys = session.keys(until)
    here = {name: _is_there(session, public_der, until) for name, public_der in token.public_keys()}
    if json_output:
        output.as_json({**session.description, "module": str(token.place.module), "keys": keys, "named": here})
        return
    output.record({**session.description, "module": str(token.place.module)}, json_output=False)
    output.records(keys, json_output=False, empty="no private key")
    for name, present in here.items():
        if not present:
            output.warn(f"the key {name} is not there", "see that the token is the right one")


def _is_there(session: Session, public_der: bytes, until: float) -> bool:
    try:
        session.find(public_der, until)
    except NotFound:
        return False
    return True


@app.command("test")
def try_out(
    label: LabelArgument,
    instance: InstanceOption = DEFAULT_INSTANCE,
    last_try: Annotated[
        bool, typer.Option("--last-try", help="Log in although one more wrong PIN would lock the token.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Log in to a token and sign with each key of the instance there; exit code 1 when one fails.

    Example: vouchd token test ocsp
    """
    token = named_token(_layout(instance), label)
    session = Launcher(token.place).open(OPEN_SECONDS, last_try=last_try)
    results = [_tried(session, name, public_der) for name, public_der in token.public_keys()]
    output.records(results, json_output=json_output)
    if any(result["result"] != "good" for result in results):
        raise typer.Exit(FAILED)


def _tried(session: Session, name: str, public_der: bytes) -> dict[str, Any]:
    public_key = load_der_public_key(public_der)
    algorithm = algorithms_for(public_key)[0]
    started = time.monotonic()
    try:
        for _ in range(_TRIALS):
            signature = session.sign(public_der, algorithm, _TRIAL, time.monotonic() + OPEN_SECONDS)
            verify(public_key, ALGORITHMS[algorithm].identifier_der, signature, _TRIAL)
    except (VouchdError, ValueError) as error:
        return {"key": name, "algorithm": algorithm, "result": str(error), "milliseconds": None}
    milliseconds = (time.monotonic() - started) * 1000 / _TRIALS
    return {"key": name, "algorithm": algorithm, "result": "good", "milliseconds": round(milliseconds, 2)}


def _layout(instance: Path) -> Layout:
    layout = Layout(instance.absolute())
    require_instance(layout)
    return layout
