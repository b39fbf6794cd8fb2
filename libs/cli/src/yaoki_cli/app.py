"""The `yaoki` command."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import cyclopts
from rich.console import Console
from yaoki.checkup import CheckExit
from yaoki.config import ALL_SECRETS, load_or_exit
from yaoki.errors import FatalError, YaokiError

from yaoki_cli.break_glass import break_glass
from yaoki_cli.check import decoded, look, show
from yaoki_cli.local.guide import guide
from yaoki_cli.local.system import LocalSystem
from yaoki_cli.plans import app as plan_app
from yaoki_cli.provisioning import provision_from

LOCAL = Path(".yaoki/local")
_EXIT_BROKEN_OFF = 70

app = cyclopts.App(
    name="yaoki",
    help="Keeps applications on PostgreSQL and Redis alive.",
    version_flags=(),
    result_action="return_value",
)
app.command(plan_app)
_console = Console(highlight=False)
_errors = Console(stderr=True, highlight=False)

Directory = Annotated[Path, cyclopts.Parameter(help="Where everything of the local system is put.")]
ConfigFile = Annotated[Path, cyclopts.Parameter(name="--config", help="The configuration to use.")]
AgentHost = Annotated[str | None, cyclopts.Parameter(help="Look only at what this agent probes; run it on its host.")]
WithSecrets = Annotated[bool, cyclopts.Parameter(help="Look for the secrets as well; CI has none.")]
AsJson = Annotated[bool, cyclopts.Parameter(negative=(), help="Print what was found as one JSON object.")]
Repository = Annotated[str, cyclopts.Parameter(name="--from", help="s3://bucket/prefix or file:///path.")]
IdentityFile = Annotated[Path, cyclopts.Parameter(help="The file that age-keygen wrote.")]


@app.command
def up(*, directory: Directory = LOCAL) -> int:
    """Start servers, agents, services and the example application on this machine, and leave them running."""
    system = LocalSystem(directory)
    if system.exists:
        stack = system.stack()
    else:
        stack = asyncio.run(system.up(lambda sentence: _console.print(f"  {sentence}")))
    _console.print(guide(system, stack), soft_wrap=True, markup=False)
    return 0


@app.command
def down(*, directory: Directory = LOCAL) -> int:
    """End everything that `up` started and remove its files."""
    asyncio.run(LocalSystem(directory).down())
    _console.print(f"nothing is left in {directory}")
    return 0


@app.command
def provision(config: ConfigFile = Path("yaoki.yaml")) -> int:
    """Create streams, consumers and buckets, and show where existing ones differ. Never narrows anything."""
    for change in asyncio.run(provision_from(config)):
        _console.print(f"  {change}", markup=False)
    return 0


@app.command
def validate(config: ConfigFile = Path("yaoki.yaml"), *, secrets: WithSecrets = True) -> int:
    """Say every mistake in a configuration; ends with 2 if there is one."""
    load_or_exit(config, needs=ALL_SECRETS if secrets else ())
    _console.print(f"{config} is valid" if secrets else f"{config} is valid; its secrets were not looked for")
    return 0


@app.command
def check(config: ConfigFile = Path("yaoki.yaml"), *, agent: AgentHost = None, json: AsJson = False) -> int:
    """Validate a configuration and probe each target once, without NATS and without leaving a trace.

    Ends with 0 when every target works, 1 when one is unhealthy, 2 when the configuration is wrong or a secret is
    missing, 3 when none is unhealthy but of one nobody can say, and 70 when the look itself broke off.
    """
    try:
        found = look(config, agent)
        if isinstance(found, CheckExit):
            return found
        checkup = decoded(found)
    except FatalError as error:
        _errors.print(f"yaoki: {error.message}", markup=False)
        return _EXIT_BROKEN_OFF
    if json:
        sys.stdout.write(found.decode())
    else:
        show(checkup, _console)
    return checkup.exit_status()


@app.command
def restore(
    *,
    repository: Repository,
    identity: IdentityFile,
    target: Annotated[str, cyclopts.Parameter(help="Name of what was backed up.")] = "",
    backup: Annotated[str, cyclopts.Parameter(help="Identity of the backup; the newest when left out.")] = "",
    into_database: Annotated[str, cyclopts.Parameter(help="Name of a database that does not exist.")] = "",
    into_directory: Annotated[str, cyclopts.Parameter(help="A directory that does not exist, or is empty.")] = "",
    binaries: Annotated[str, cyclopts.Parameter(help="Directory of pg_restore; PATH when left out.")] = "",
    roles: Annotated[bool, cyclopts.Parameter(negative=(), help="Create missing roles first.")] = False,
) -> int:
    """Break the glass: restore into a new place with nothing but a repository and an age identity, without NATS.

    S3 is reached as the aws command does (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...), PostgreSQL as psql does (PGHOST,
    PGUSER, PGPASSWORD, ...). Nothing that exists is changed.
    """
    options = {
        "--from": repository,
        "--identity": str(identity),
        "--target": target,
        "--backup": backup,
        "--into-database": into_database,
        "--into-directory": into_directory,
        "--binaries": binaries,
    }
    arguments = [word for name, value in options.items() if value for word in (name, value)]
    return break_glass(["restore", *arguments, *(["--roles"] if roles else [])])


@app.command
def backups(
    *, repository: Repository, target: Annotated[str, cyclopts.Parameter(help="Only this target.")] = ""
) -> int:
    """List every backup of a repository, read from the repository itself, without NATS."""
    return break_glass(["list", "--from", repository, *(["--target", target] if target else [])])


def main() -> None:
    """Entry point: 0 done, 1 could not be done, 2 asked wrongly."""
    try:
        status = app()
    except YaokiError as error:
        _errors.print(f"yaoki: {error.message}", markup=False)
        status = 1
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)
