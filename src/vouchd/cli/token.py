"""`vouchd token`: the tokens that the instance's keys are on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vouchd.cli import output
from vouchd.cli.instance import Instance, reachable
from vouchd.cli.options import JsonOption
from vouchd.errors import SigningError

app = typer.Typer(name="token", no_args_is_help=True, help="Tokens (PKCS #11, HSMs) that keys of an instance are on.")
FAILED = 1

LabelArgument = Annotated[str, typer.Argument(metavar="LABEL", help="The token's label.")]


@app.command("list")
@reachable
def list_(
    instance: Instance,
    module: Annotated[
        Path | None,
        typer.Option("--module", metavar="FILE", help="Instead, all tokens that this module reaches from this host."),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """List the tokens that keys of the instance are on, and whether each can be used; or those of a module.

    Example: vouchd token list --module /usr/lib/softhsm/libsofthsm2.so
    """
    if module is not None:
        output.records(_reached(module), json_output=json_output, empty=f"{module}: reaches no token")
        return
    tokens = instance.call("tokens.list")
    if json_output:
        output.as_json(tokens)
        return
    output.records([_row(token) for token in tokens], json_output=False, empty="all keys are in files")


def _reached(module: Path) -> list[dict[str, object]]:
    try:
        from vouchd.signing.token.device import tokens_of  # noqa: PLC0415  an extra of the installation
    except ModuleNotFoundError as error:
        raise SigningError("python-pkcs11 is not installed", hint="pip install 'vouchd[hsm]'") from error
    return tokens_of(module.absolute())


def _row(token: Mapping[str, Any]) -> dict[str, object]:
    in_use = f"{token['sessions']} of {token['most_sessions']}" if token["sessions"] is not None else None
    failure = f"{token['failed_at']} {token['failure']}" if token["failed_at"] else None
    return {
        "token": token["token"],
        "module": token["module"],
        "keys": ", ".join(key["name"] + ("" if key["signs"] else " (not in use)") for key in token["keys"]),
        "state": token["state"],
        "sessions": in_use,
        "last_failure": failure,
    }


@app.command()
@reachable
def show(label: LabelArgument, instance: Instance, json_output: JsonOption = False) -> None:
    """Show a token and the private keys on it; no key leaves it.

    Example: vouchd token show ocsp
    """
    token = instance.call("tokens.get", label)
    if json_output:
        output.as_json(token)
        return
    output.record({key: value for key, value in token.items() if key not in {"keys", "named"}}, json_output=False)
    output.records(token["keys"], json_output=False, empty="no private key")
    for name, present in token["named"].items():
        if not present:
            output.warn(f"the key {name} is not there", "see that the token is the right one")


@app.command("test")
@reachable
def try_out(
    label: LabelArgument,
    instance: Instance,
    last_try: Annotated[
        bool, typer.Option("--last-try", help="Log in although one more wrong PIN would lock the token.")
    ] = False,
    json_output: JsonOption = False,
) -> None:
    """Log in to a token and sign with each key of the instance there; exit code 1 when one fails.

    Example: vouchd token test ocsp
    """
    results = instance.call("tokens.test", label, body={"last_try": last_try})
    output.records(results, json_output=json_output)
    if any(result["result"] != "good" for result in results):
        raise typer.Exit(FAILED)
