"""The SELinux module: compiled, linked with Debian's policy, and looked into."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from vouchd.settings.layout import Layout

ROOT = Path(__file__).parents[2]
BASE = Path("/usr/local/share/selinux/base.pp")  # where scripts/install-debian-packages.sh lays it
MODULE = ROOT / "deploy" / "selinux"


def run(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def policy(tmp_path_factory) -> Path:
    """A kernel's policy of Debian's base and our module."""
    folder = tmp_path_factory.mktemp("selinux")
    run(ROOT / "scripts" / "build-selinux.sh", folder)
    run("semodule_link", "-o", folder / "linked", BASE, folder / "vouchd.pp")
    run("semodule_expand", folder / "linked", folder / "policy")
    return folder / "policy"


def rules(policy: Path, *words: str) -> list[str]:
    """The rules that sesearch finds."""
    return [line for line in run("sesearch", *words, policy).splitlines() if line.strip()]


@pytest.mark.process
def test_instance_reads_and_replaces_its_keys_and_maps_or_runs_none(policy):
    """A renewal writes a key; nobody needs to have one mapped, and none is a program."""
    (files,) = rules(policy, "-A", "-s", "vouchd_t", "-t", "vouchd_key_t", "-c", "file")
    assert {"read", "create", "rename", "unlink"} <= set(files.split())
    assert not {"execute", "map", "relabelto"} & set(files.split())


# Domains of Debian's base policy that get at any file there is: the package manager, who administers the host.
OF_THE_HOST = {"dpkg_t", "dpkg_script_t", "files_unconfined_type", "mount_t", "sysadm_t"}


@pytest.mark.process
def test_no_other_service_gets_at_the_keys(policy):
    """Beside the instance only those domains read them that read any file of the host."""
    readers = rules(policy, "-A", "-t", "vouchd_key_t", "-c", "file", "-p", "read", "-ds")
    assert {line.split()[1] for line in readers} - OF_THE_HOST == {"vouchd_t"}


@pytest.mark.process
def test_instance_runs_itself_and_nothing_that_it_wrote(policy):
    """What lies in its folder is never a program."""
    transitions = rules(policy, "-A", "-s", "vouchd_t", "-c", "file", "-p", "execute", "-ds")
    targets = {line.split()[2].partition(":")[0] for line in transitions}
    assert "vouchd_exec_t" in targets
    assert not targets & {"vouchd_var_lib_t", "vouchd_key_t", "vouchd_tmp_t"}


@pytest.mark.process
def test_new_keys_get_the_type_of_keys(policy):
    """`alias/` and `password.conf` have it from the moment in which they are made."""
    labels = "\n".join(rules(policy, "-T", "-s", "vouchd_t", "-t", "vouchd_var_lib_t"))
    assert re.search(r"vouchd_var_lib_t:dir vouchd_key_t \"?alias", labels)
    assert re.search(r"vouchd_var_lib_t:file vouchd_key_t \"?password.conf", labels)


@pytest.mark.parametrize("secret", ["alias", "password_conf", "admin_pkcs12", "admin_password"])
def test_files_with_secrets_are_labelled_as_keys(secret):
    """Where an instance lies when a package has made it: what restorecon goes by."""
    path = str(getattr(Layout(Path("/var/lib/vouchd/master")), secret))
    lines = [line.split() for line in (MODULE / "vouchd.fc").read_text().splitlines()]
    types = [line[-1] for line in lines if re.fullmatch(line[0], path)]
    assert "vouchd_key_t" in types[-1]


def test_context_that_preflight_compares_is_named_in_the_module():
    """The page of cloning tells what a copied key file has to be labelled as."""
    text = (ROOT / "docs" / "operate" / "packages.md").read_text()
    assert "restorecon" in text
    assert "vouchd_key_t" in text
