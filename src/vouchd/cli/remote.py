"""Verbs that work on a running instance over its agent port instead of on its folder: `--url`, `--cert`, `--key`.

A verb takes `asked: Asked = None`; `@reachable` puts the options in that place, and passes the client they ask for.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from vouchd.client.admin import AdminClient
from vouchd.errors import ConfigError

Asked = AdminClient | None
Result = TypeVar("Result")

_INSTANCE = Annotated[
    Path,
    typer.Option(
        "--instance",
        "-i",
        envvar="VOUCHD_INSTANCE",
        metavar="DIR|URL",
        help="The instance's folder, or as --url.",
        show_default=True,
    ),
]
_URL = Annotated[
    str,
    typer.Option(
        "--url", envvar="VOUCHD_URL", metavar="URL", help="Ask a running instance at its agent port, https://HOST:8443."
    ),
]
_TRUST = Annotated[
    Path | None,
    typer.Option("--trust", envvar="VOUCHD_TRUST", metavar="FILE", help="With --url: the CA of the server, PEM."),
]
_SCHEME = "https:/"  # of a path: one slash is lost


def _files(*options: tuple[str, str]) -> tuple[Any, Any]:
    """The options of certificate and key under these names; those of a verb itself come first."""
    cert, key = zip(*options, strict=True)
    return (
        Annotated[
            Path | None,
            typer.Option(*cert, envvar="VOUCHD_CERT", metavar="FILE", help="With --url: your client certificate, PEM."),
        ],
        Annotated[
            Path | None,
            typer.Option(*key, envvar="VOUCHD_KEY", metavar="FILE", help="With --url: its key, PEM, if elsewhere."),
        ],
    )


def reachable(command: Callable[..., Result]) -> Callable[..., Result]:
    """The verb with the options for asking over the agent port in place of its parameter `asked`."""
    signature = inspect.signature(command, eval_str=True)
    long = ("--client-cert", "--client-key")
    names = [long] if "cert" in signature.parameters else [("--cert", "--key"), long]
    cert_option, key_option = _files(*names)
    options = {
        "there_url": (_URL, ""),
        "there_cert": (cert_option, None),
        "there_key": (key_option, None),
        "there_trust": (_TRUST, None),
    }
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name == "asked":
            kind = parameter.kind
            parameters += [
                inspect.Parameter(name, kind, default=default, annotation=annotation)
                for name, (annotation, default) in options.items()
            ]
        else:
            is_instance = parameter.name == "instance"
            parameters.append(parameter.replace(annotation=_INSTANCE) if is_instance else parameter)

    @functools.wraps(command)
    def call(**given: Any) -> Result:
        url, cert, key, trust = (given.pop(name) for name in options)
        folder = str(given["instance"])
        if not url and folder.startswith(_SCHEME):
            url = folder.replace(_SCHEME, "https://", 1)
        return command(**given, asked=_client(url, cert, key, trust, names[0][0]))

    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return call


def _client(url: str, cert: Path | None, key: Path | None, trust: Path | None, option: str) -> Asked:
    """The client that the options ask for, None without a URL. Raises: ConfigError."""
    if not url:
        return None
    if cert is None:
        raise ConfigError("a client certificate is needed with --url", hint=f"give it: {option} FILE")
    return AdminClient(url, cert, key, trust)
