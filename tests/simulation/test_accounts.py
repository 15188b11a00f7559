"""Accounts: scales that keep everything exact, and what a unit is worth."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schwabot.errors import ConfigError
from schwabot.records.instrument import Instrument
from schwabot.simulation.accounts import HEADROOM, LARGEST, e7, open_account

SPOT = Instrument("x:BTC/USDT", tick_size=0.01, lot_size=1e-5)
INVERSE = Instrument("x:BTC/USD:BTC", tick_size=0.1, lot_size=1.0, contract_value=100.0, inverse=True)


def test_a_unit_of_a_linear_account_by_hand() -> None:
    account = open_account(SPOT, 6_000_000, 600.0)
    # 60,000 USDT a coin: 600 USDT are 0.01 BTC, 1,000 lots. A lot at p ticks is p * scale units.
    assert account.max_lots == 1000
    lot_in_units = 6_000_000 * account.scale
    assert lot_in_units * account.unit == pytest.approx(0.6)
    assert account.currency == "USDT"


def test_a_unit_of_an_inverse_account_by_hand() -> None:
    account = open_account(INVERSE, 600_000, 1_000.0)
    # a contract is worth 100 USD, at 60,000 USD a coin 1/600 BTC
    assert account.max_lots == 10
    assert (account.scale // 600_000) * account.unit == pytest.approx(1 / 600, rel=1e-8)
    assert account.currency == "BTC"


@given(
    st.sampled_from([SPOT, INVERSE]),
    st.integers(1, 10**9),
    st.floats(1e-3, 1e9),
)
def test_the_largest_position_never_overflows(instrument: Instrument, ticks: int, max_notional: float) -> None:
    try:
        account = open_account(instrument, ticks, max_notional)
    except ConfigError:
        return
    far = account.scale // max(ticks // HEADROOM, 1) if instrument.inverse else account.scale * ticks * HEADROOM
    assert account.max_lots >= 1
    assert account.max_lots * far < 2 * HEADROOM * LARGEST < 2**60
    if instrument.inverse:
        assert account.scale // ticks >= 1


def test_too_small_and_too_large_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"less than one lot of x:BTC/USDT, which is worth 0\.6 USDT"):
        open_account(SPOT, 6_000_000, 0.5)
    with pytest.raises(ConfigError, match="too many for exact 64-bit accounts; use at most"):
        open_account(SPOT, 6_000_000, 1e12)


def test_an_inverse_account_that_can_not_tell_two_ticks_apart_is_refused() -> None:
    dollar = Instrument("x:BTC/USD:BTC", tick_size=0.1, lot_size=1.0, contract_value=1.0, inverse=True)
    with pytest.raises(ConfigError, match="too few digits to tell one price of an inverse contract") as refused:
        open_account(dollar, 600_000, 1e8)
    account = open_account(dollar, 600_000, float(str(refused.value).rpartition("at most ")[2]))
    worths = [account.scale // ticks for ticks in range(600_000, 600_050)]
    assert all(a - b >= 5 for a, b in itertools.pairwise(worths))


def test_the_advice_for_too_large_works() -> None:
    with pytest.raises(ConfigError) as refused:
        open_account(SPOT, 6_000_000, 1e12)
    open_account(SPOT, 6_000_000, float(str(refused.value).rpartition("at most ")[2]))


def test_fees_finer_than_a_thousandth_of_a_bp_are_refused() -> None:
    assert e7(1.234) == 1234
    with pytest.raises(ConfigError, match=r"0\.001 bp"):
        e7(0.00005)
