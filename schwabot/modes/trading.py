"""What mode=backtest and mode=sweep begin with: the source, the graph, the policy and what it trades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schwabot.config import RunConfig
from schwabot.errors import ConfigError, closest
from schwabot.modes.opened_graph import OpenedGraph, open_graph
from schwabot.modes.opening import expected_events
from schwabot.modules.forecast import ForecastHead
from schwabot.pipeline import Pipeline
from schwabot.records.instrument import Instrument
from schwabot.signals.compiling import CompiledPolicy, compile_policy
from schwabot.signals.loading import load_policy, load_signal
from schwabot.signals.own_signals import split_parameters
from schwabot.simulation.recorder import MarketRecorder
from schwabot.ticks.base import Feed


@dataclass
class Desk(OpenedGraph):
    """Everything that stands before the first tick of a run that trades.

    Attributes:
        policy: compiled for as many streams as are traded.
        legs: streams that are traded.
    """

    policy: CompiledPolicy
    legs: tuple[str, ...]

    def parameters(self, settings: RunConfig) -> dict[str, float]:
        """Every parameter of the policy with its value."""
        return self.policy.values(split_parameters(settings.policy.parameters)[0])

    def recorder(self, settings: RunConfig) -> MarketRecorder:
        """Keeps the market that the policy trades on."""
        return MarketRecorder(
            self.policy,
            self.feed.instruments,
            self.legs,
            settings.simulation,
            self.pipeline.graph.horizons_ms,
            settings.policy.leader,
            expected_events(settings, self.feed),
            split_parameters(settings.policy.parameters)[1],
        )


def open_policy(settings: RunConfig) -> CompiledPolicy:
    """Load and compile the policy.

    Raises:
        ConfigError: a policy that can't be used, a parameter that it refuses.
    """
    assert settings.policy.name is not None  # as RunConfig.check saw to
    own = [load_signal(name) for name in settings.policy.signals]
    policy = compile_policy(load_policy(settings.policy.name), own, max(len(settings.policy.trade), 1))
    policy.values(split_parameters(settings.policy.parameters)[0])  # refused before anything is read
    return policy


def open_desk(
    settings: RunConfig, policy: CompiledPolicy, feed: Feed | None = None, head: ForecastHead | None = None, *,
    quiet: bool = False, kind: type[Pipeline] | None = None,
) -> Desk:  # fmt: skip
    """Open the source, build the graph, choose what is traded.

    Args:
        settings: of the run.
        policy: compiled for as many streams as are traded.
        feed: the source, if it is open already.
        head: the forecast, if it is loaded already.
        quiet: say no notes; they are kept.
        kind: of pipeline, see ``open_graph``.

    Raises:
        ConfigError: a stream that is not there.
    """
    opened = open_graph(settings, feed, head, quiet=quiet, kind=kind)
    legs = legs_of(settings.policy.trade, opened.feed.instruments, opened.pipeline.rates)
    return Desk(**vars(opened), policy=policy, legs=legs)


def legs_of(wanted: Sequence[str], instruments: tuple[Instrument, ...], rates: tuple[str, ...]) -> tuple[str, ...]:
    """Streams to trade: those asked for, else the one with the lowest taker fee, linear before inverse, by name."""
    streams = [one.stream for one in instruments]
    if missing := [stream for stream in wanted or () if stream not in streams]:
        raise ConfigError(
            f"policy.trade: {missing[0]} is not in the source{closest(missing[0], streams)}; it has"
            f" {', '.join(streams)}"
        )
    if wanted:
        return tuple(wanted)
    able = [one for one in instruments if one.stream not in rates and not one.trades_only]
    if not able:
        raise ConfigError("the source has no stream that can be traded: quotes are needed, not trades alone")
    return (min(able, key=lambda one: (one.taker_fee_bp, one.inverse, one.stream)).stream,)
