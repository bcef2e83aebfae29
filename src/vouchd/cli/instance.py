"""The instance that a verb works on: its folder here, or a running one at its agent port, through one interface.

A verb takes `instance: Instance` and calls operations of the table `api` by name. `@reachable` puts the options in the
place of that parameter (`--instance`, `--url`, `--cert`, `--key`, `--trust`) and opens what they name.
"""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar

import typer

from vouchd.api.model import plain
from vouchd.api.operation import JSON, PREFIX, Call, Download, Operation, operation_of
from vouchd.api.pages import MOST
from vouchd.cli import output
from vouchd.cli.options import DEFAULT_INSTANCE, read_password
from vouchd.cli.progress import stages, working
from vouchd.client.admin import AdminClient, quoted, read_answer
from vouchd.errors import ConfigError, LifecycleError
from vouchd.instance import lifecycle
from vouchd.service.permission import local_caller
from vouchd.settings.layout import Layout

if TYPE_CHECKING:
    from vouchd.api.services import Services


Result = TypeVar("Result")


class Instance(Protocol):
    """Calls operations by their names; `path` are the values of the operation's path, in their order."""

    def call(self, name: str, *path: str, body: Any = None, origin: str = "", **query: Any) -> Any:
        """The JSON value of the answer, or the bytes of a file; `origin` says where a file comes from.

        Raises: VouchdError, the same one whichever way it is called.
        """


class Folder:
    """The instance in a folder, whether it runs or not; the caller is whoever runs this process."""

    def __init__(self, layout: Layout, open_until_the_end: ExitStack, *, talks: bool = True) -> None:
        from vouchd.wiring.folder import FolderRunning, user_name  # noqa: PLC0415  not for who asks over the port

        self.layout = layout
        self._talks = talks
        self._until_the_end = open_until_the_end
        self._services: Services | None = None
        self._caller = local_caller(user_name())
        self._running = FolderRunning(
            layout, lambda: self._opened().store, lambda: self._opened().indexing, partial(_check, layout), output.hint
        )

    def call(self, name: str, *path: str, body: Any = None, origin: str = "", **query: Any) -> Any:
        """See Instance."""
        operation = operation_of(name)
        named, caller = _named(operation, path), self._caller
        call = Call(self._opened, self.layout, self._running, caller, named, query, body, origin or caller.origin)
        with working(_words(operation, origin), shown=self._talks):
            answer = operation.perform(call)
            return b"".join(answer.chunks()) if isinstance(answer, Download) else plain(answer)

    def start(self, seconds: float) -> None:
        """Start it, and wait until it answers. Raises: VouchdError."""
        start_folder(self.layout, seconds)

    def remove(self) -> None:
        """Close what is open in the folder of an instance that has stopped, and remove it, with its keys."""
        self._until_the_end.close()
        self._services = None
        shutil.rmtree(self.layout.root)

    def _opened(self) -> Services:
        from vouchd.wiring import services as wiring  # noqa: PLC0415  `status` needs no store

        if self._services is None:
            self._services = self._until_the_end.enter_context(wiring.services(self.layout))
        return self._services


def start_folder(layout: Layout, seconds: float) -> None:
    """Start the instance in that folder and wait until it answers; it checks itself, and its warnings are printed.

    Where it does not start, the reason is looked for here: in its own words, with its hint and exit code. Raises:
    VouchdError.
    """
    lifecycle.require_instance(layout)
    try:
        lifecycle.start(
            layout,
            lifecycle.manager_command(layout),
            seconds=seconds,
            warn=output.warn,
            meanwhile=partial(import_module, "vouchd.wiring.services"),  # for what follows
            say=stages(),
        )
    except LifecycleError:
        _check(layout)
        raise


def _check(layout: Layout) -> None:
    from vouchd.wiring.instance import check_instance  # noqa: PLC0415  `status` does without

    check_instance(layout, output.warn)


class Port:
    """A running instance at its agent port; the caller is whose certificate the client has."""

    def __init__(self, client: AdminClient, *, talks: bool = True) -> None:
        self._client = client
        self._talks = talks

    def call(self, name: str, *path: str, body: Any = None, origin: str = "", **query: Any) -> Any:
        """See Instance; where a file comes from is told there by the client's address."""
        operation = operation_of(name)
        data, media_type = None, ""
        if operation.upload:
            data, media_type = bytes(body), operation.upload[0]
        elif operation.body is not None:
            data, media_type = json.dumps(body).encode(), JSON
        words = {key: _text(value) for key, value in query.items()}
        where = PREFIX + operation.path.format(**{key: quoted(value) for key, value in _named(operation, path).items()})
        with working(_words(operation, origin), shown=self._talks):
            answer = self._client.send(operation.method, where, words, data, media_type)
        return answer if operation.media_type != JSON else read_answer(answer)


def _named(operation: Operation, path: tuple[str, ...]) -> Mapping[str, str]:
    return dict(zip(operation.path_names, path, strict=True))


def _words(operation: Operation, origin: str) -> str:
    """What is said while the operation takes its time."""
    words = f"{operation.about[:1].lower()}{operation.about[1:]}"
    return f"{Path(origin).name}: {words}" if origin else words


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# The options, and the decorator that puts them in the place of the parameter `instance`.

_INSTANCE = Annotated[
    str,
    typer.Option(
        "--instance",
        "-i",
        envvar="VOUCHD_INSTANCE",
        metavar="DIR|URL",
        help="The instance's folder, or the URL of its agent port.",
        show_default=True,
    ),
]
_LONG = ("--client-cert", "--client-key")
_SCHEME = "https://"


def _files(url: str, *options: tuple[str, str]) -> tuple[Any, Any]:
    """The options of certificate and key under these names; those of a verb itself come first."""
    cert, key = zip(*options, strict=True)
    return (
        Annotated[
            Path | None,
            typer.Option(
                *cert,
                envvar="VOUCHD_CERT",
                metavar="FILE",
                help=f"With {url}: your certificate, PEM or PKCS #12.",
            ),
        ],
        Annotated[
            Path | None,
            typer.Option(*key, envvar="VOUCHD_KEY", metavar="FILE", help=f"With {url}: its key, PEM, if elsewhere."),
        ],
    )


def _password(url: str, *names: str) -> Any:
    """The option of the password of a PKCS #12 file or an encrypted key, under these names."""
    return Annotated[
        Path | None,
        typer.Option(
            *names,
            envvar="VOUCHD_CERT_PASSWORD_FILE",
            metavar="FILE",
            help=f"With {url}: password of the PKCS #12 file or key: first line (0600).",
        ),
    ]


def _server(url: str, trust: str) -> tuple[Any, Any]:
    """The options of the port and of the CA of its certificate under these names."""
    return (
        Annotated[
            str,
            typer.Option(
                url,
                envvar="VOUCHD_URL",
                metavar="URL",
                help="Ask a running instance at its agent port, https://HOST:8443.",
            ),
        ],
        Annotated[
            Path | None,
            typer.Option(trust, envvar="VOUCHD_TRUST", metavar="FILE", help=f"With {url}: the CA of the server, PEM."),
        ],
    )


def reachable(command: Callable[..., Result]) -> Callable[..., Result]:
    """The verb with the options that name an instance in place of its parameter `instance`, which it opens."""
    signature = inspect.signature(command, eval_str=True)
    names = [_LONG] if "cert" in signature.parameters else [("--cert", "--key"), _LONG]
    has_own = "url" in signature.parameters  # of something else, as `trust` then is
    url, trust = ("--agent-url", "--agent-trust") if has_own else ("--url", "--trust")
    own = {
        name
        for parameter in signature.parameters.values()
        for option in getattr(parameter.annotation, "__metadata__", ())
        for name in getattr(option, "param_decls", None) or ()
    }
    passwords = [name for name in ("--password-file", "--cert-password-file") if name not in own]
    cert_option, key_option = _files(url, *names)
    url_option, trust_option = _server(url, trust)
    options = {
        "instance": (_INSTANCE, str(DEFAULT_INSTANCE)),
        "instance_url": (url_option, ""),
        "instance_cert": (cert_option, None),
        "instance_key": (key_option, None),
        "instance_trust": (trust_option, None),
        "instance_password": (_password(url, *passwords), None),
    }
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name != "instance":
            parameters.append(parameter)
            continue
        parameters += [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)
            for name, (annotation, default) in options.items()
        ]

    @wraps(command)
    def run(**values: Any) -> Result:
        where = [values.pop(name) for name in options]
        with opened(*where, option=names[0][0], talks=not values.get("json_output", False)) as instance:
            return command(**values, instance=instance)

    run.reachable = True  # type: ignore[attr-defined]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


@contextmanager
def opened(
    folder: str,
    url: str = "",
    cert: Path | None = None,
    key: Path | None = None,
    trust: Path | None = None,
    password_file: Path | None = None,
    *,
    option: str = "--cert",
    talks: bool = True,
) -> Iterator[Instance]:
    """The instance that these name; `talks` says that it tells of what takes long. Raises: ConfigError."""
    url = url or (folder if folder.startswith(_SCHEME) else "")
    if not url:
        with ExitStack() as until_the_end:
            yield Folder(Layout(Path(folder).absolute()), until_the_end, talks=talks)
        return
    if cert is None:
        raise ConfigError("a client certificate is needed with --url", hint=f"give it: {option} FILE")
    yield Port(AdminClient(url, cert, key, trust, lambda: read_password(password_file, key or cert)), talks=talks)


def all_authorities(instance: Instance) -> Iterator[Mapping[str, Any]]:
    """All CAs, which the operation gives in pages."""
    return _whole(instance, "authorities.list", "{id}")


def all_issuing_points(instance: Instance) -> Iterator[Mapping[str, Any]]:
    """All issuing points, which the operation gives in pages."""
    return _whole(instance, "crls.list", "{authority}/{scope}")


def _whole(instance: Instance, operation: str, name: str) -> Iterator[Mapping[str, Any]]:
    after = ""
    while True:
        page = instance.call(operation, after=after, limit=MOST)
        yield from page
        if len(page) < MOST:
            return
        after = name.format_map(page[-1])
