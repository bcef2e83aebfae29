"""`vouchd service`: units that systemd's own tools accept, an init script that runs, and refusals with their mend."""

from __future__ import annotations

import getpass
import json
import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.commands import run_vouchd

from vouchd.instance.lifecycle import status
from vouchd.instance.service_units import InstalledService, install_service
from vouchd.settings.layout import Layout

USER = getpass.getuser()
# Of systemd-analyze security, times ten: what it calls "OK" ends at 50, a service of root without a sandbox has 96.
EXPOSURE = 20


@pytest.fixture
def folder(instance) -> Path:
    """The instance's folder; its ports are fixed."""
    return instance.instance


def installed(folder: Path, root: Path, *sockets: str, systemd: bool = True) -> InstalledService:
    """The service `m` of the user who runs the tests, written below `root`."""
    program = Path(shutil.which("true") or "")
    return install_service("m", folder, USER, program, root, sockets, systemd=systemd)


def test_units_are_what_systemd_takes_without_a_word(folder, tmp_path):
    """`systemd-analyze verify` finds no unknown key, no bad value, no missing program in service and sockets."""
    root = tmp_path / "root"
    made = installed(folder, root, "ocsp", "agent")
    units = root / "etc/systemd/system"
    for name in ("vouchd-ocsp", "vouchd-agent"):  # as `systemctl enable` instantiates the service
        assert "Service=vouchd@%i.service" in (units / f"{name}@m.socket").read_text()
    shutil.copy(units / "vouchd@.service", units / "vouchd@m.service")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units.glob("*m.socket"), units / "vouchd@m.service"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"},
    )
    ours = [line for line in done.stderr.splitlines() if "vouchd" in line]
    assert (done.returncode, ours) == (0, []), done.stderr
    assert "systemctl daemon-reload" in made.commands


def test_sandbox_leaves_little_exposed(folder, tmp_path):
    """`systemd-analyze security` rates the service far below what it calls exposed."""
    root = tmp_path / "root"
    installed(folder, root)
    unit = tmp_path / "vouchd@m.service"
    # The tests run as root, a service as a user of its own: that is what the exposure is rated for.
    text = (root / "etc/systemd/system/vouchd@.service").read_text()
    unit.write_text(text.replace(f"User={USER}\n", "User=nobody\n"))
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", unit],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_units_name_folder_user_and_ports_of_the_instance(folder, tmp_path):
    """The drop-in has the folder, each socket the port of CS.cfg, and no placeholder is left."""
    root = tmp_path / "root"
    made = installed(folder, root, "ocsp", "agent")
    texts = {path.relative_to(root).as_posix(): path.read_text() for path in made.files}
    assert not [path for path, text in texts.items() if "@USER@" in text or "@PORT@" in text or "@PROGRAM@" in text]
    drop_in = texts["etc/systemd/system/vouchd@m.service.d/instance.conf"]
    assert f"Environment=VOUCHD_INSTANCE={folder}\n" in drop_in
    assert f"ReadWritePaths={folder}\n" in drop_in
    assert "ListenStream=8080\nFileDescriptorName=ocsp\n" in texts["etc/systemd/system/vouchd-ocsp@m.socket"]
    assert "ListenStream=8443\nFileDescriptorName=agent\n" in texts["etc/systemd/system/vouchd-agent@m.socket"]
    assert f"User={USER}\n" in texts["etc/systemd/system/vouchd@.service"]
    assert texts["etc/sysusers.d/vouchd.conf"].startswith(f"u {USER} ")


@pytest.mark.process
def test_init_script_starts_and_stops_the_instance(folder, tmp_path):
    """`start`, `status`, `reload` and `stop` drive the instances that are written down, and pass on the exit code."""
    configured = folder / "CS.cfg"
    ports = "".join(f"vouchd.{port}.port=0\n" for port in ("ee", "health", "agent"))
    kept = [line for line in configured.read_text().splitlines() if ".port=" not in line]
    configured.write_text("\n".join([*kept, ports]))
    root = tmp_path / "root"
    made = json.loads(
        run_vouchd(
            *("service", "install", "m", "--instance", folder, "--user", USER, "--init", "--root", root, "--json")
        ).stdout
    )
    assert made["next"] == ["service vouchd start m"]
    script = root / "etc/init.d/vouchd"
    script.write_text(script.read_text().replace("SERVICES=/etc", f"SERVICES={root}/etc"))

    def service(*arguments: str) -> int:
        return subprocess.run([script, *arguments], capture_output=True, timeout=300, check=False).returncode

    assert service("status") == 3
    try:
        assert service("start") == 0
        before = status(Layout(folder)).report
        assert before.acknowledged
        assert service("status", "m") == 0
        assert service("reload") == 0
        after = status(Layout(folder)).report
        assert after.pid == before.pid
        assert {worker.pid for worker in after.workers}.isdisjoint(worker.pid for worker in before.workers)
        assert service("start", "other") == 0, "an instance that is not named is left alone"
    finally:
        assert service("stop") == 0
    assert status(Layout(folder)).pid is None
    assert service("hello") == 2


def test_logrotate_accepts_its_file(folder, tmp_path):
    """logrotate's own reader finds nothing wrong with the file, and it names this instance's log."""
    made = installed(folder, tmp_path / "root", systemd=False)
    (file,) = [path for path in made.files if "logrotate.d" in path.parts]
    assert file.read_text().splitlines()[1] == f"{Layout(folder).log} {{"
    done = subprocess.run(["logrotate", "--debug", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words", "mend"),
    [
        (("a/b",), "a/b: not a name for a service", "letters, digits"),
        (("m", "--user", "no-such-user"), "there is no user no-such-user", "useradd --system"),
        (("m", "--user", "nobody"), "belongs to another user than nobody", "chown -R nobody:"),
        (("m", "--socket", "web"), "--socket web: no such port", "one of ocsp, agent"),
        (("m", "--init", "--systemd"), "exclude each other", "leave out one"),
        (("m", "--init", "--socket", "ocsp"), "no systemd here", "leave --socket out"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_install_refuses_with_the_mend_and_writes_nothing(folder, tmp_path, run, arguments, words, mend):
    """What cannot work is refused before a file is there."""
    root = tmp_path / "root"
    if pwd.getpwnam("nobody").pw_uid == folder.stat().st_uid:
        raise AssertionError("the tests do not run as nobody")
    user = () if "--user" in arguments else ("--user", USER)
    code, _, err = run("service", "install", *arguments, *user, "--instance", folder, "--root", root)
    assert code != 0
    assert words in err
    assert mend in err
    assert not root.exists()


def test_service_of_a_host_without_a_service_manager_says_what_to_do(run):
    """Without systemd and without the init script the commands that need neither are named."""
    code, _, err = run("service", "start", "m")
    assert code != 0
    assert "vouchd service install m" in err
    assert "vouchd start --instance DIR" in err
