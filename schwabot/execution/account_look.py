"""A look at accounts that changes nothing: what is held, what is open, what the venues' filters are."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from schwabot.execution.ccxt_account import CcxtAccount
from schwabot.execution.reconcile import holdings_text
from schwabot.execution.risk import VenueLimits
from schwabot.execution.settings import GatewayConfig
from schwabot.execution.trouble import patiently
from schwabot.records.instrument import Instrument


class AccountLook(NamedTuple):
    """What was seen.

    Attributes:
        lines: for a person.
        limits: the venues' filters, by stream.
    """

    lines: list[str]
    limits: dict[str, VenueLimits]


def look(
    instruments: Sequence[Instrument], options: Mapping[str, Mapping[str, Any]], config: GatewayConfig
) -> AccountLook:
    """Ask every venue what the account holds.

    Args:
        instruments: that are to be traded.
        options: for ccxt's constructors, by venue: keys, addresses.
        config: how requests travel.

    Raises:
        VenueError: a venue can't be reached, or refuses.
    """
    return asyncio.run(_look(instruments, options, config))


async def _look(
    instruments: Sequence[Instrument], options: Mapping[str, Mapping[str, Any]], config: GatewayConfig
) -> AccountLook:
    found = AccountLook([], {})
    for venue in sorted({one.venue for one in instruments}):
        own = [one for one in instruments if one.venue == venue]
        account = CcxtAccount(venue, own, options.get(venue, {}), config.recv_window_ms, config.timeout_s)
        try:
            limits: dict[str, VenueLimits] = await patiently(account.connect)
            found.limits.update(limits)
            held = await patiently(account.holdings)
            found.lines.append(holdings_text(venue, held))
            for one in own:
                orders = await patiently(partial(account.open_orders, one.stream))
                ours = sum(seen.client_id.startswith(config.prefix) for seen in orders)
                if orders:
                    found.lines.append(
                        f"{one.stream} has {len(orders)} open orders, {ours} of them ours: a start cancels those"
                    )
        finally:
            await account.close()
    return found
