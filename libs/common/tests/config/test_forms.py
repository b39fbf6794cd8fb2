"""Durations, sizes and addresses as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yaoki.config.forms import FORMS, Address, format_duration, parse_address, parse_duration, parse_size

MILLISECONDS = st.integers(min_value=0, max_value=10**11)


@given(MILLISECONDS)
def test_a_duration_reads_back_as_it_was_written(milliseconds: int) -> None:
    """What messages show can be pasted into the file."""
    seconds = milliseconds / 1000

    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-9)


@given(
    st.integers(min_value=0, max_value=10**6),
    st.sampled_from([("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600), ("d", 86400)]),
)
def test_units_scale(amount: int, unit: tuple[str, float]) -> None:
    """With or without a blank."""
    assert parse_duration(f"{amount}{unit[0]}") == parse_duration(f"{amount} {unit[0]}") == amount * unit[1]


@given(st.integers(min_value=0, max_value=2**50))
def test_a_number_of_bytes_is_itself(size: int) -> None:
    """Plain numbers need no unit."""
    assert parse_size(size) == parse_size(f"{size}B") == size


@given(st.text(max_size=20) | st.floats() | st.integers() | st.booleans() | st.none())
def test_no_value_makes_a_form_fail_otherwise_than_by_value_error(value: object) -> None:
    """Whatever stands in the file, the loader has a sentence for it."""
    for form in FORMS.values():
        try:
            form.parse(value)
        except ValueError:
            continue


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "1 s s", "1e3s", "5M", "five seconds", "nan", "\u0661s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """No guessing: `5` as text has no unit, `5M` might be months."""
    with pytest.raises(ValueError, match=r"^$"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("1KiB", 1024), ("1.5MiB", 1_572_864), ("2GB", 2_000_000_000), ("1 TiB", 2**40)]
)
def test_sizes(text: str, size: int) -> None:
    """Powers of 1024 with an i, of 1000 without."""
    assert parse_size(text) == size


@given(st.from_regex(r"[a-z][a-z0-9.-]{0,20}[a-z]", fullmatch=True), st.integers(min_value=1, max_value=65535))
def test_an_address_reads_back(host: str, port: int) -> None:
    """As does an IPv6 one."""
    assert parse_address(str(Address(host, port))) == Address(host, port)
    assert parse_address(str(Address("::1", port))) == Address("::1", port)
