"""TensorHarness: asynchronous streams on one timeline, safely. Axis legend: N events, V streams."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from schwabot.modules.settings import GhostBridgeConfig, TensorHarnessConfig
from schwabot.modules.stateful import State, Stateful
from schwabot.records.instrument import Instrument
from schwabot.records.market import Int8
from schwabot.tensors.tick_batch import TickBatch
from schwabot_kernels.align import cpu as align_kernel
from schwabot_kernels.align.cpu import Events, StreamTable
from schwabot_kernels.align.op import COLUMNS as ALIGNED
from schwabot_kernels.align.op import align
from schwabot_kernels.align.reference import Aligned
from schwabot_kernels.phase import cpu as phase_kernel
from schwabot_kernels.phase.cpu import PhaseParams
from schwabot_kernels.phase.op import COLUMNS as PHASED
from schwabot_kernels.phase.op import phase


def has_quotes(instruments: Sequence[Instrument], trades_only: Sequence[str] = ()) -> Int8:
    """1 where a stream has quotes, 0 where its price is its last trade. Shape: [V].

    Args:
        instruments: V instruments.
        trades_only: streams without quotes, beside those whose instrument says so.

    Example:
        >>> has_quotes([Instrument("a:X/Y", 1, 1), Instrument("b:X/Y", 1, 1)], trades_only=["b:X/Y"]).tolist()
        [1, 0]
    """
    return np.array([not (i.trades_only or i.stream in trades_only) for i in instruments], np.int8)


class Timeline(NamedTuple):
    """Every stream at every event.

    Attributes:
        aligned: the last known quote; log mid, half spread and microprice offset in bp. [N, V], ``dt_s`` [N]
        phase: persistent offset from the ghost, bp; NaN while unseen. [N, V]
        compensated: phase moved ahead when it drifts, bp. [N, V]
        drift: |phase change over the window| / max(|phase before|, 1 bp). [N, V]
        status: ``DriftStatus``. int8 [N, V]
        route: ``Route``; 0 = takes part in the ghost. int8 [N, V]
    """

    aligned: Aligned
    phase: torch.Tensor
    compensated: torch.Tensor
    drift: torch.Tensor
    status: torch.Tensor
    route: torch.Tensor


class TensorHarness(Stateful):
    r"""As-of alignment, phase, phase drift and routing.

    .. math::
        \beta_{vu} = \langle x_v - x_u \rangle_\tau, \quad
        \varphi_v = c + \frac1{|S|} \sum_{u \in S} \beta_{vu}, \quad
        \Delta\varphi_v = \frac{|\varphi_v(t) - \varphi_v(t-w)|}{\max(|\varphi_v(t-w)|, 1\,\mathrm{bp})}, \quad
        \hat\varphi_v = \varphi_v + k\,(\varphi_v(t) - \varphi_v(t-w))

    x is the log mid in bp from the first quote, S the streams seen so far; the mean runs over the time both streams
    were valid (exp(-dt/tau), tau = ``tau_phase_s``), so an outage freezes it. A stream joins with the phase x - m, m
    the plain mean of x_u - phi_u over the valid streams seen before; its pairs are seeded and c moves so that their
    phases stay, and with them the ghost they make. What a join adds to it is the newcomer's weight in it times m -
    ghost, zero when the others agree. k = 0, k0 or min(2 k0, k_max) as the stream is stable, drifting or
    critical. A stream that is unseen, stale, crossed or critical gets a route other than 0; so does a rate.

    Args:
        instruments: V instruments, sorted by stream name.
        config: settings; see ``TensorHarnessConfig`` for units and defaults.
        trades_only: streams whose price is their last trade.
        latency_max_ms: feed delay at which a stream's weight in the ghost reaches zero, ms.
        rate: 1 where a stream is a rate, see ``currencies``: it is aligned, and has no other part. [V]

    Shape:
        batch [N]; outputs [N, V], ``aligned.dt_s`` [N].

    Raises:
        ConfigError: a setting is out of range.
        StateError: the state belongs to another harness.
        ValueError: times run backwards, or a stream number is not one.

    Source:
        Previous-tick interpolation of asynchronous quotes: Dacorogna, Gençay, Müller, Olsen & Pictet (2001), ch. 2. One
        efficient price behind several markets, each with an offset: Hasbrouck (1995).

    Example:
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> feed = SyntheticFeed(SyntheticConfig(events=300))
        >>> batch = TickBatch.from_ticks(next(iter(feed.batches())))
        >>> harness = TensorHarness(feed.instruments)
        >>> timeline, state = harness(batch, harness.initial_state())
        >>> tuple(timeline.phase.shape), tuple(timeline.aligned.dt_s.shape)
        ((300, 4), (300,))
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        config: TensorHarnessConfig | None = None,
        trades_only: Sequence[str] = (),
        latency_max_ms: float = GhostBridgeConfig.latency_max_ms,
        rate: Int8 | None = None,
    ) -> None:
        config = config or TensorHarnessConfig()
        config.check()
        streams = len(instruments)
        empty = {"align": align_kernel.empty_state(streams), "phase": phase_kernel.empty_state(streams)}
        rate = np.zeros(streams, np.int8) if rate is None else rate
        rates = {"the checksum of the rates": zlib.crc32(rate.tobytes())}
        super().__init__("tensor_harness", config, ("drift_window_s",), empty, streams, rates)
        self.table = StreamTable(
            tick=np.array([i.tick_size for i in instruments], np.float64),
            unit=np.array([i.lot_size * i.contract_value for i in instruments], np.float64),
            inverse=np.array([i.inverse for i in instruments], np.int8),
            trades_only=1 - has_quotes(instruments, trades_only),
            rate=rate,
        )
        self.latency_max_ns = latency_max_ms * 1e6
        self.params = PhaseParams(
            tau_s=float(config.tau_phase_s),
            stale_ns=round(config.stale_s * 1e9),
            window_ns=round(config.drift_window_s * 1e9),
            drifting_at=float(config.drifting_at),
            critical_at=float(config.critical_at),
            k0=float(config.k0),
            k_max=float(config.k_max),
        )

    def forward(self, batch: TickBatch, state: State) -> tuple[Timeline, State]:
        """Put N events on the timeline; returns it and the state after them, and leaves ``state`` as it was."""
        self.check_state(state)
        events = {name: getattr(batch, name) for name in Events._fields}
        table = {name: torch.from_numpy(values) for name, values in self.table._asdict().items()}
        out = align(**events, **table, latency_max_ns=self.latency_max_ns, state=self._leaves("align", state))
        aligned = dict(zip(ALIGNED, out, strict=False))
        after = self._named("align", out[len(ALIGNED) :])
        out = phase(
            batch.ts_ns,
            **{name: aligned[name] for name in ("last_ns", "x", "bad", "dt_s")},
            **self.params._asdict(),
            state=self._leaves("phase", state),
        )
        after |= self._named("phase", out[len(PHASED) :])
        wide = [column.T for column in out[: len(PHASED)]]
        dt_s = aligned.pop("dt_s")
        return (
            Timeline(Aligned(**{name: column.T for name, column in aligned.items()}, dt_s=dt_s), *wide),
            self._own(state) | after,
        )
