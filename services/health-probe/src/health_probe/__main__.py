"""`python -m health_probe --config yaoki.yaml [--role prober|slo|agent|check] [--agent NAME] [--instance NAME]`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from typing import TYPE_CHECKING

import msgspec
import uvloop
from yaoki.checkup import CheckExit
from yaoki.config import EXIT_CONFIGURATION, ConfigErrors, load_despite_missing_secrets
from yaoki.errors import FatalError, RejectedError
from yaoki.subjects import token

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from yaoki.config import Config

_EXIT_USAGE = 2
_EXIT_FATAL = 70
_EXIT_INTERRUPTED = 130
_NEEDS = {
    "check": ("targets.*",),
    "prober": ("nats.*", "targets.*"),
    "slo": ("nats.*",),
    "agent": ("nats.*", "postgres_clusters.*", "redis_groups.*", "agents.*", "targets.*"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one role until SIGTERM or SIGINT; return the exit status."""
    options = _parse(arguments)
    if options.role == "check":
        return _check(options.config, options.agent)
    try:
        config = _load(options.config, _NEEDS[options.role], options.agent)
    except ConfigErrors as exc:
        sys.stderr.write(f"{exc.message}\nNothing was started.\n")
        return EXIT_CONFIGURATION
    run = asyncio.run
    if options.role == "agent":
        from health_probe.agent.main import run_agent  # noqa: PLC0415 - a prober does not load the agent

        work = run_agent(config, options.agent)
    elif options.role == "slo":
        from health_probe.slo.main import run_slo  # noqa: PLC0415 - as above

        work = run_slo(config, options.instance)
    else:
        from health_probe.main import run_prober  # noqa: PLC0415 - an agent does not load the probes

        # A third less processor time for a probe; the other roles have nothing to gain.
        work, run = run_prober(config, options.instance, options.vantage), uvloop.run
    try:
        run(_until_signalled(work))
    except RejectedError as exc:
        sys.stderr.write(f"{exc.message}\n")
        return _EXIT_USAGE
    except FatalError as exc:
        sys.stderr.write(f"{exc.message}\n")
        return _EXIT_FATAL
    return 0


def _load(file: str, needs: Sequence[str], agent: str | None) -> Config:
    """As `load_config`, but that the secrets of targets which others probe may be missing on this host."""
    loaded = load_despite_missing_secrets(file, needs=needs)
    targets = loaded.config.targets
    probed_elsewhere = tuple(f"targets.{name}." for name, target in targets.items() if target.agent != agent)
    missing = [one for one in loaded.unresolved if not one.path.startswith(probed_elsewhere)]
    if missing:
        raise ConfigErrors(file, missing)
    return loaded.config


def _check(config: str, agent: str | None) -> int:
    """Probe once, print the result as JSON, and end as `yaoki.checkup.CheckExit` says."""
    from health_probe.check.main import check_once  # noqa: PLC0415 - nobody else needs it

    try:
        checkup = asyncio.run(check_once(config, _NEEDS["check"], agent))
    except RejectedError as exc:
        sys.stderr.write(f"{exc.message}\nNothing was probed.\n")
        return CheckExit.CONFIGURATION
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    sys.stdout.write(f"{msgspec.json.encode(checkup).decode()}\n")
    return checkup.exit_status()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m health_probe",
        description="Probes targets, keeps the ledger of their minutes, or works on one host as its agent.",
    )
    parser.add_argument("--config", required=True, help="path of yaoki.yaml")
    parser.add_argument("--role", choices=sorted(_NEEDS), default="prober", help="default: prober")
    parser.add_argument("--agent", help="name of the agent; for --role agent, and for --role check")
    parser.add_argument("--instance", default="prober-1", help="name of this process, unique among those of its role")
    parser.add_argument(
        "--vantage", help="from where a prober looks, out of probe.vantages; may be left out if only one"
    )
    options = parser.parse_args(arguments)
    if options.role == "agent" and options.agent is None:
        parser.error("--role agent needs --agent NAME")
    if options.role not in ("agent", "check") and options.agent is not None:
        parser.error("--agent NAME goes with --role agent or check")
    try:
        token(options.instance, "--instance")
    except RejectedError as exc:
        parser.error(exc.message)
    return options


async def _until_signalled(work: Coroutine[object, object, None]) -> None:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        if not task.cancelled():
            raise


if __name__ == "__main__":
    sys.exit(main())
