"""Ports are nobody else's as long as they are leased."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from yaoki_devstack import ports

if TYPE_CHECKING:
    from pathlib import Path


def test_a_leased_port_is_not_given_twice_though_nobody_listens() -> None:
    first = ports.lease()
    second = ports.lease(first.number)
    assert second.number != first.number
    first.release()
    third = ports.lease(first.number)
    assert third.number == first.number
    for found in (second, third):
        found.release()


def test_a_preferred_port_that_listens_is_replaced() -> None:
    with socket.socket() as listener:
        listener.bind((ports.LOOPBACK, 0))
        listener.listen()
        taken = listener.getsockname()[1]
        found = ports.lease(taken)
        assert found.number != taken
        found.release()


def test_a_pair_keeps_its_distance() -> None:
    lower, upper = ports.lease_pair(10_000)
    assert upper.number - lower.number == 10_000
    lower.release()
    upper.release()


def test_a_port_book_remembers(tmp_path: Path) -> None:
    book = ports.PortBook(tmp_path / "ports.json")
    number = book.reserve("main")
    assert ports.PortBook(tmp_path / "ports.json").reserve("main", 1) == number
    book.release()
