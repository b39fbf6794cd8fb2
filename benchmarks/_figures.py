"""The line that a benchmark prints for each figure."""

from __future__ import annotations

import msgspec


def figure(
    bench: str, name: str, value: float, *, at_most: float | None = None, at_least: float | None = None, peer: str = ""
) -> None:
    """Print one JSON line on standard output, where nothing else may appear.

    Args:
        bench: Name of the benchmark.
        name: Of the figure, with its unit, e.g. `median_s`.
        value: As measured.
        at_most: The figure is fine up to here.
        at_least: The figure is fine from here on.
        peer: What it was measured beside, in the same run.
    """
    ok = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
    limit = at_most if at_most is not None else at_least
    line = {"bench": bench, "figure": name, "value": round(value, 3), "limit": limit, "peer": peer, "ok": ok}
    print(msgspec.json.encode(line).decode(), flush=True)
