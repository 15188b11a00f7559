"""What is held after any sequence of fills, against the sum of what was paid and received."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schwabot.records.instrument import Instrument
from schwabot.venues.loopback.accounts import EIGHTH, FuturesAccount, SpotAccount, value
from schwabot.venues.loopback.listing import listings
from tests.venues.making import COINM, SPOT, USDM

FILLS = st.lists(
    st.tuples(st.sampled_from([1, -1]), st.integers(1, 1_000), st.integers(400_000, 900_000), st.booleans()),
    min_size=1,
    max_size=30,
)


@pytest.mark.parametrize("instrument", [USDM, COINM], ids=["linear", "inverse"])
@given(fills=FILLS)
def test_wallet_and_open_gain_are_what_was_paid_and_received(
    instrument: Instrument, fills: list[tuple[int, int, int, bool]]
) -> None:
    listing = listings([instrument])[0]
    account = FuturesAccount({listing.settle: Decimal(0)})
    cash, fees, lots = Fraction(0), Decimal(0), 0
    sign = -1 if instrument.inverse else 1
    for side, count, price, maker in fills:
        fee, asset, _ = account.fill(listing, side, count, price, maker=maker)
        assert asset == listing.settle
        cash -= sign * side * value(listing, count, price)
        fees += fee
        lots += side * count
    position = account.position(listing)
    assert position.lots == lots
    mark = 600_000
    open_gain = sign * (value(listing, lots, mark) - position.entry)
    total = Fraction(account.wallet[listing.settle] + fees) + open_gain
    # Each gain is rounded to the eighth decimal, by half of it at most.
    assert abs(total - (cash + sign * value(listing, lots, mark))) <= Fraction(EIGHTH) / 2 * len(fills)
    if not lots:
        assert position.entry == 0


def test_fees_are_rounded_against_the_account() -> None:
    listing = listings([SPOT])[0]
    account = SpotAccount({"USDT": Decimal(1_000), "BTC": Decimal(0)})
    fee, asset, _ = account.fill(listing, 1, 1, 6_000_001, maker=False)
    assert (fee, asset) == (Decimal("0.00000001"), "BTC")
    assert account.total == {"USDT": Decimal("999.3999999"), "BTC": Decimal("0.00000999")}
    assert account.fill(listing, -1, 1, 6_000_001, maker=False)[0] == Decimal("0.00060001")  # 0.0006000001
    rebate = listings([Instrument("binance:BTC/USDT", 0.01, 1e-5, maker_fee_bp=-1.0)])[0]
    assert account.fill(rebate, -1, 1, 6_000_001, maker=True)[0] == Decimal("-0.00006000")


def test_spot_holds_what_open_orders_may_need() -> None:
    listing = listings([SPOT])[0]
    account = SpotAccount({"USDT": Decimal(600), "BTC": Decimal(0)})
    assert account.reserve(listing, 1, 900, 6_000_000)
    assert not account.reserve(listing, 1, 200, 6_000_000)
    assert account.free("USDT") == Decimal(60)
    account.release(listing, 1, 900, 6_000_000)
    assert account.free("USDT") == Decimal(600)
    assert not account.reserve(listing, -1, 1, 6_000_000)
