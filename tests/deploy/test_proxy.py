"""The examples of docs/operate/proxy.md: nginx in front of real EE ports, and HAProxy as it reads them."""

from __future__ import annotations

import asyncio
import getpass
import os
import re
import shutil
import socket
import subprocess
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from tests.ee.ee_fakes import Client, get, make_server, post

PAGE = Path(__file__).parents[2] / "docs" / "operate" / "proxy.md"
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
AROUND = "user {2}; worker_processes 1; daemon off; pid {0}/pid; error_log {0}/error.log; events {{}} http {{ access_log off; {1} }}"
TEMPORARY = " ".join(f"{kind}_temp_path {{0}}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
# In base64, with a stroke as its 3rd and 4th character, and a plus sign.
SLASHES = b"0good\xff\xff\xff\xfb\xef\xbe"


def block(language: str) -> str:
    """The page's lines in this language."""
    return re.search(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[1]


def example(folder: Path, port: int, members: list[int]) -> str:
    """What the page says for nginx, with these ports and below this folder."""
    text = block("nginx")
    wanted = {
        r"/var/cache/nginx/ocsp": str(folder / "cache"),
        r"192\.0\.2\.11:8080": f"127.0.0.1:{members[0]}",
        r"192\.0\.2\.12:8080": f"127.0.0.1:{members[1]}",
        r"listen 80;": f"listen 127.0.0.1:{port};",
    }
    for pattern, value in wanted.items():
        text, count = re.subn(pattern, value, text)
        assert count == 1
    return AROUND.format(folder, TEMPORARY.format(folder) + text, getpass.getuser())


@contextmanager
def nginx(folder: Path, members: list[int]):
    """Nginx with the page's lines in front of the members; its port, which listens before it starts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        (folder / "nginx.conf").write_text(example(folder, port, members))
        fd = listener.fileno()
        command = [NGINX, "-e", str(folder / "error.log"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
        child = subprocess.Popen(command, pass_fds=[fd], env=os.environ | {"NGINX": f"{fd};"})
    try:
        yield port
    finally:
        child.terminate()
        child.wait()


@asynccontextmanager
async def member(heads: list[str]):
    """An EE port; the head of each request that comes to it is kept. Yields its port."""
    ee, inner = make_server(), socket.create_server(("127.0.0.1", 0))
    await ee.start([inner])

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        responder = Client(*await asyncio.open_connection(*inner.getsockname()))
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                heads.append(head.decode())
                length = re.search(r"(?i)content-length: (\d+)", heads[-1])
                responder.send(head + await reader.readexactly(int(length[1]) if length else 0))
                answer = await responder.answer()
                lines = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
                writer.write(f"HTTP/1.1 {answer.status} OK\r\n{lines}\r\n".encode() + answer.body)
        except asyncio.IncompleteReadError:
            writer.close()
        finally:
            responder.writer.close()

    async with await asyncio.start_server(pass_on, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
    await ee.stop(5)


@pytest.mark.process
async def test_nginx_of_the_page_passes_on_what_was_asked_and_who_asked_and_caches_by_the_answer(tmp_path):
    """What docs/operate/proxy.md has for nginx keeps the question as it came, names the client last, and caches."""
    heads: list[str] = []
    async with member(heads) as one, member(heads) as two:
        with nginx(tmp_path, [one, two]) as port:
            client = Client(*await asyncio.open_connection("127.0.0.1", port))
            question = get(SLASHES, headers="X-Forwarded-For: 203.0.113.9\r\n")
            raw = question.replace(b"%2F", b"/")
            assert b"//" in raw.split()[1][1:]
            for request in (question, question, raw, post(b"0good"), post(b"0good"), get(b"0nonce"), get(b"0nonce")):
                answer = await client.ask(request)
                assert (answer.status, answer.headers["Content-Type"]) == (200, "application/ocsp-response")
                assert answer.body.startswith(b"answer to 0")
            client.writer.close()
    paths = [head.split()[1] for head in heads]
    assert paths == [
        question.split()[1].decode(),
        raw.split()[1].decode(),
        "/",
        "/",
        *[get(b"0nonce").split()[1].decode()] * 2,
    ]
    assert re.search(r"(?m)^X-Forwarded-For: 203\.0\.113\.9, 127\.0\.0\.1\r$", heads[0])


@pytest.mark.process
async def test_nginx_of_the_page_asks_the_other_member_when_one_is_away(tmp_path):
    """A member that is stopped costs no client its answer."""
    heads: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as gone:
        away = gone.getsockname()[1]
    async with member(heads) as port_of_one:
        with nginx(tmp_path, [away, port_of_one]) as port:
            client = Client(*await asyncio.open_connection("127.0.0.1", port))
            for number in range(4):
                assert (await client.ask(get(b"0good%d" % number))).body == b"answer to 0good%d" % number
            client.writer.close()
    assert len(heads) == 4


@pytest.mark.process
def test_haproxy_reads_the_lines_of_the_page(tmp_path):
    """HAProxy itself takes the page's lines, without a warning."""
    (tmp_path / "haproxy.cfg").write_text(block("haproxy"))
    checked = subprocess.run(
        ["/usr/sbin/haproxy", "-c", "-f", tmp_path / "haproxy.cfg"], capture_output=True, text=True, check=False
    )
    assert (checked.returncode, re.findall("ALERT|WARNING", checked.stderr)) == (0, []), checked.stderr
