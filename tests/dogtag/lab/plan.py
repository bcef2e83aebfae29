"""What the lab consists of: names, ports, passwords, and the answers that its installers are given.

Everything listens on one loopback address of its own, so that nothing else on the host is in its way.
"""

from __future__ import annotations

from dataclasses import dataclass

HOST = "dogtag.vouchd.test"  # scripts/test-hosts.sh enters it
ADDRESS = "127.0.0.6"
PASSWORD = "Secret.123"
HOME = "/srv/lab"
TRANSFER = f"{HOME}/transfer"  # what one installer hands to the next
DATABASE = f"{HOME}/nss"  # certificates and keys of its clients
SECURITY_DOMAIN = "EXAMPLE"
PACKAGES = (
    *("pki-ca", "pki-ocsp", "pki-tools", "389-ds-base", "python3-lib389", "libnss3-tools", "openssl"),
    *("openjdk-11-jre-headless", "procps", "hostname", "curl"),
)


@dataclass(frozen=True)
class Instance:
    """A subsystem in a Tomcat of its own, with a directory server of its own."""

    name: str
    subsystem: str
    base: int  # the first of its ports
    suffix: str
    master: Instance | None = None

    @property
    def tomcat(self) -> str:
        return f"pki-{self.name}"

    @property
    def administrator(self) -> str:
        """Folder of the files of its administrator."""
        return f"{HOME}/{self.tomcat}"

    @property
    def http_port(self) -> int:
        return self.base + 80

    @property
    def https_port(self) -> int:
        return self.base + 43

    @property
    def ldap_port(self) -> int:
        return self.base + 89

    @property
    def path(self) -> str:
        return f"/{self.subsystem.lower()}"


CA = Instance("ca", "CA", 10100, "dc=ca,dc=pki,dc=example,dc=test")
OCSP = Instance("ocsp", "OCSP", 10200, "dc=ocsp,dc=pki,dc=example,dc=test")
CLONE = Instance("ocsp2", "OCSP", 10300, OCSP.suffix, OCSP)
INSTANCES = (CA, OCSP, CLONE)
# Where the CA publishes to beside its OCSP manager: an instance of vouchd, if there is one.
BESIDE_HTTP_PORT, BESIDE_HTTPS_PORT = 10480, 10443


def directory_answers(instance: Instance) -> str:
    """The file for `dscreate from-file`."""
    general = {
        "config_version": 2,
        "full_machine_name": HOST,
        "strict_host_checking": False,
        "selinux": False,
        "systemd": False,
        "start": False,
    }
    server = {
        "instance_name": instance.name,
        "port": instance.ldap_port,
        "secure_port": instance.base + 36,
        "root_dn": "cn=Directory Manager",
        "root_password": PASSWORD,
        "self_sign_cert": False,
    }
    return _sections(general=general, slapd=server)


def subsystem_answers(instance: Instance) -> str:
    """The file for `pkispawn`."""
    sections = {
        "DEFAULT": _common(instance),
        "Tomcat": _tomcat(instance),
        instance.subsystem: _subsystem(instance),
    }
    if instance is not CA:
        sections["DEFAULT"] |= {
            "pki_cert_chain_nickname": "ca_signing",
            "pki_cert_chain_path": f"{TRANSFER}/ca_signing.crt",
        }
        sections[instance.subsystem] |= {
            "pki_admin_cert_file": f"{CA.administrator}/ca_admin.cert",
            "pki_security_domain_hostname": HOST,
            "pki_security_domain_user": "caadmin",
            "pki_security_domain_password": PASSWORD,
            "pki_share_db": False,
        }
    if instance.master:
        sections["Tomcat"] |= {
            "pki_clone": True,
            "pki_clone_pkcs12_path": f"{TRANSFER}/ocsp.p12",
            "pki_clone_pkcs12_password": PASSWORD,
            "pki_clone_replicate_schema": True,
            "pki_clone_replication_master_port": instance.master.ldap_port,
            "pki_clone_replication_clone_port": instance.ldap_port,
            "pki_clone_replication_security": "None",
            "pki_clone_uri": f"https://{HOST}:{instance.master.https_port}",
        }
    return _sections(**sections)


def _common(instance: Instance) -> dict[str, object]:
    return {
        "pki_hostname": HOST,
        "pki_instance_name": instance.tomcat,
        "pki_client_dir": instance.administrator,
        "pki_https_port": instance.https_port,
        "pki_http_port": instance.http_port,
        "pki_server_database_password": PASSWORD,
        "pki_status_request_timeout": 180,
    }


def _tomcat(instance: Instance) -> dict[str, object]:
    return {
        "pki_tomcat_server_port": instance.base + 5,
        "pki_ajp_port": instance.base + 9,
        "pki_ajp_host_ipv4": "127.0.0.1",
        "pki_ajp_host_ipv6": "::1",
    }


def _subsystem(instance: Instance) -> dict[str, object]:
    admin = f"{instance.subsystem.lower()}admin"
    prefix = instance.subsystem.lower()
    nicknames = {"ocsp_signing": "ocsp_signing" if prefix == "ocsp" else "ca_ocsp_signing"}
    if instance is CA:
        nicknames["ca_signing"] = "ca_signing"
    nicknames |= {
        "audit_signing": f"{prefix}_audit_signing",
        "sslserver": "sslserver",
        "subsystem": "subsystem",
    }
    return {
        "pki_admin_email": f"{admin}@example.test",
        "pki_admin_name": admin,
        "pki_admin_nickname": admin,
        "pki_admin_uid": admin,
        "pki_admin_password": PASSWORD,
        "pki_client_database_password": PASSWORD,
        "pki_client_database_purge": False,
        "pki_client_pkcs12_password": PASSWORD,
        "pki_ds_hostname": HOST,
        "pki_ds_ldap_port": instance.ldap_port,
        "pki_ds_base_dn": instance.suffix,
        "pki_ds_database": prefix,
        "pki_ds_password": PASSWORD,
        "pki_security_domain_name": SECURITY_DOMAIN,
        "pki_security_domain_https_port": CA.https_port,
        **{f"pki_{use}_nickname": nickname for use, nickname in nicknames.items()},
    }


def _sections(**sections: dict[str, object]) -> str:
    return "\n".join(
        f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items()) for name, keys in sections.items()
    )
