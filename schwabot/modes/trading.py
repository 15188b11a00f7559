"""What mode=backtest and mode=sweep begin with: the source, the graph, the policy and what it trades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from schwabot.config import RunConfig, closest
from schwabot.errors import ConfigError
from schwabot.modes.opening import compile_kernels, expected_events, notes_of, open_feed, reference_of, say
from schwabot.modules.forecast import ForecastHead
from schwabot.modules.settings import ModulesConfig
from schwabot.pipeline import Pipeline
from schwabot.records.instrument import Instrument
from schwabot.signals.compiling import CompiledPolicy, compile_policy
from schwabot.signals.loading import load_policy, load_signal
from schwabot.signals.own_signals import split_parameters
from schwabot.simulation.recorder import MarketRecorder
from schwabot.tensors.device import resolve_device
from schwabot.ticks.base import Feed
from schwabot.training.heads import serve


@dataclass
class Desk:
    """Everything that stands before the first tick of a run that trades."""

    feed: Feed
    pipeline: Pipeline
    head: ForecastHead | None
    modules: ModulesConfig
    device: torch.device
    policy: CompiledPolicy
    legs: tuple[str, ...]
    notes: list[str]
    reference: str | None

    def compile(self) -> float:
        """Get the graph's kernels ready; gives the time, s."""
        return compile_kernels(self.feed.instruments, self.modules)

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


def open_desk(settings: RunConfig, policy: CompiledPolicy, feed: Feed | None = None, *, quiet: bool = False) -> Desk:
    """Open the source, build the graph, choose what is traded.

    Args:
        settings: of the run.
        policy: compiled for as many streams as are traded.
        feed: the source, if it is open already.
        quiet: say no notes; they are kept.

    Raises:
        ConfigError: a stream that is not there.
    """
    feed = feed or open_feed(settings)
    reference = reference_of(settings.source.reference, feed.instruments)
    device, reason = resolve_device(settings.device)
    notes = notes_of(feed, reason)
    if not quiet:
        say(notes)
    head, modules = None, settings.modules
    if settings.checkpoint:
        head = ForecastHead.load(settings.checkpoint)
        modules = serve(head, settings.checkpoint, modules, feed.instruments)
    pipeline = Pipeline(feed.instruments, modules, settings.latency, device=device, head=head)
    legs = legs_of(settings.policy.trade, feed.instruments, pipeline.rates)
    return Desk(feed, pipeline, head, modules, device, policy, legs, notes, reference)


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
