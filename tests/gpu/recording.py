"""What the modules give each op, from any moment of a run: the states to start the device's ops from. N events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import schwabot.modules.forecast as coming
import schwabot.modules.ghost_bridge as bridge
import schwabot.modules.phantom_lag as delay
from schwabot.modules.forecast import ForecastHead
from schwabot.modules.graph import Graph
from schwabot.modules.settings import ModulesConfig
from schwabot.records.instrument import Instrument
from schwabot.ticks.capture import CaptureFeed
from tests.kernels.making import Market, first_events

PLACES = {"forecast": (coming, "forecast_op"), "lag": (delay, "lag"), "arbitrage": (bridge, "arbitrage")}
EDGE = 32
SMALL = {"edge": EDGE, "block": 8}


class Recorded(dict[str, Any]):
    """Arguments of a call by name, and what came of it: ``answer``, the op's list of tensors."""

    answer: list[torch.Tensor]

    def __getattr__(self, name: str) -> Any:
        return self[name]


def recorded(op: str, market: Market, config: ModulesConfig, cut: int, head: ForecastHead | None = None) -> Recorded:
    """The call of an op for the events from ``cut`` on, those before having been run. An op's state is a list."""
    module, name = PLACES[op]
    real = getattr(module, name)
    names = [argument.name for argument in real._opoverload._schema.arguments]
    found = Recorded()

    def record(*args: Any, **named: Any) -> list[torch.Tensor]:
        answer: list[torch.Tensor] = real(*args, **named)
        found.clear()
        found.update(zip(names, args, strict=False), **named)
        found.answer = [part.clone() for part in answer]  # what is handed out of a ring moves its head
        return answer

    trades_only = [i.stream for i in market.instruments if i.trades_only]
    graph = Graph(market.instruments, config, trades_only, head)
    state = graph.initial_state()
    with pytest.MonkeyPatch.context() as patch:
        if cut:
            _, state = graph.by_module(market.batch.rows(0, cut), state)
        patch.setattr(module, name, record)
        graph.by_module(market.batch.rows(cut, len(market.batch)), state)
    return found


def rows_first(column: torch.Tensor, device: str) -> torch.Tensor:
    """[V, N] as the device has it, [N, V]."""
    return column.mT.contiguous().to(device)


def captured(captures: Path, events: int) -> Market:
    """The first events of the recorded days."""
    known = (
        Instrument("binance:BTC/USDT", 0.01, 1e-5, taker_fee_bp=0.1),
        Instrument("binanceusdm:BTC/USDT:USDT", 0.1, 0.001, taker_fee_bp=0.1),
        Instrument("binancecoinm:BTC/USD:BTC", 0.1, 1.0, 100.0, inverse=True, taker_fee_bp=0.1),
    )
    files = sorted((captures / "binance").glob("*/btc*.gz"))
    return first_events(CaptureFeed(files, {i.stream: i for i in known}), events)


@contextmanager
def poisoned() -> Iterator[None]:
    """Tensors that are to be written are full of NaN, or -77, until they are."""
    real = torch.Tensor.new_empty

    def empty(self: torch.Tensor, *args: Any, **named: Any) -> torch.Tensor:
        made = real(self, *args, **named)
        return made.fill_(torch.nan if made.is_floating_point() else -77)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "new_empty", empty)
        yield


@contextmanager
def triton_on(device: str) -> Iterator[None]:
    """Triton's kernels on the device, through their interpreter on the CPU."""
    from schwabot_kernels.device_scan import interpreted

    if device == "cuda":
        yield
    else:
        with interpreted():
            yield


def cuts_of(events: int) -> list[int]:
    """From where on: the empty state and some moments of the run."""
    return sorted({0, events // 3, events - 1})
