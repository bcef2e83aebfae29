"""Where things are inside an instance's folder; nothing here touches the disk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one instance; `root` is its folder (0700)."""

    root: Path

    @property
    def cs_cfg(self) -> Path:
        """The settings, `key=value` lines."""
        return self.root / "CS.cfg"

    @property
    def password_conf(self) -> Path:
        """`name=password` lines (0600): `internal` is the password of the key files in `alias/`."""
        return self.root / "password.conf"

    @property
    def alias(self) -> Path:
        """Folder of keys (encrypted PKCS #8, 0600) and certificates (PEM)."""
        return self.root / "alias"

    @property
    def known_users(self) -> Path:
        """The users as they were read from the store last; private."""
        return self.database_folder / "users.json"

    @property
    def believed(self) -> Path:
        """What this member has believed of the facts in its directory (SQLite); private."""
        return self.database_folder / "believed.sqlite"

    @property
    def rotation(self) -> Path:
        """How far the password of the replication account is renewed; JSON, private."""
        return self.database_folder / "rotation.json"

    @property
    def alerts(self) -> Path:
        """The alerts that stand, and what is still to be carried; JSON, private."""
        return self.database_folder / "alerts.json"

    @property
    def rhythms(self) -> Path:
        """When and by which numbers CRLs came, of each issuing point; JSON, private."""
        return self.database_folder / "rhythms.json"

    @property
    def submitted_requests(self) -> Path:
        """The requests for certificates that a Certificate System's CA has not decided on; JSON, private."""
        return self.database_folder / "submitted-requests.json"

    @property
    def backups(self) -> Path:
        """When the last backup was made and proved; JSON."""
        return self.database_folder / "backups.json"

    @property
    def restored(self) -> Path:
        """There from a restore until all other members of the set were asked: what is here may be old."""
        return self.database_folder / "restored"

    @property
    def database_folder(self) -> Path:
        """Folder of the embedded store."""
        return self.root / "db"

    @property
    def database(self) -> Path:
        """The embedded store (SQLite)."""
        return self.database_folder / "vouchd.sqlite"

    @property
    def index(self) -> Path:
        """Folder of the revocation indexes and of the serving manifest."""
        return self.root / "index"

    @property
    def manifest(self) -> Path:
        """What the workers serve, written by the manager process."""
        return self.index / "manifest.log"

    @property
    def run(self) -> Path:
        """Folder of what exists only while the instance runs."""
        return self.root / "run"

    @property
    def pid_file(self) -> Path:
        """Process id of the running manager process."""
        return self.run / "vouchd.pid"

    @property
    def fetch_requests(self) -> Path:
        """Folder with a file for each source that a command on the folder wants to be asked now."""
        return self.run / "fetch"

    @property
    def serving(self) -> Path:
        """What the running instance serves now: ports, version, epochs; JSON, written by the manager process."""
        return self.run / "serving.json"

    @property
    def selftests(self) -> Path:
        """The newest results of the self tests; JSON, there while the instance runs."""
        return self.run / "selftests.json"

    @property
    def verification(self) -> Path:
        """The last comparison with the other members of the set; JSON."""
        return self.run / "verification.json"

    @property
    def refused(self) -> Path:
        """The last CRL of each CA that was refused; JSON."""
        return self.run / "refused.json"

    @property
    def active_cs_cfg(self) -> Path:
        """The settings that the running instance started with: its workers read these, not what is being edited."""
        return self.run / "CS.cfg"

    @property
    def signing_sets(self) -> Path:
        """Which signers the processes have loaded, by number; JSON, written by the manager process at its start."""
        return self.run / "signing.json"

    @property
    def signing_word(self) -> Path:
        """The number of those that sign now, in eight octets that all processes have mapped."""
        return self.run / "signing.word"

    @property
    def ingest_lock(self) -> Path:
        """File lock that serialises ingestion over processes."""
        return self.run / "ingest.lock"

    @property
    def config_lock(self) -> Path:
        """File lock that serialises changes of CS.cfg over processes."""
        return self.run / "config.lock"

    @property
    def setup(self) -> Path:
        """Folder of what its set-up needs, there until that is done; private."""
        return self.root / "setup"

    @property
    def admin_pkcs12(self) -> Path:
        """Key and certificate of the administrator, for a browser (0600)."""
        return self.root / "admin.p12"

    @property
    def admin_password(self) -> Path:
        """The password of `admin_pkcs12` (0600)."""
        return self.root / "admin.password"

    @property
    def logs(self) -> Path:
        """Folder of logs."""
        return self.root / "logs"

    @property
    def audit_log(self) -> Path:
        """Administrative acts, JSON lines, append-only."""
        return self.logs / "audit.jsonl"

    @property
    def log(self) -> Path:
        """What a background instance says."""
        return self.logs / "vouchd.log"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Every folder of an instance, to be made with it."""
        return (self.alias, self.database_folder, self.index, self.run, self.logs)
