"""What mode=backtest and mode=sweep begin with: the source, the graph, the policy and what it trades."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from schwabot.config import RunConfig, closest
from schwabot.errors import ConfigError
from schwabot.modes.opening import (
    compile_kernels,
    expected_events,
    notes_of,
    open_feed,
    reference_of,
    say,
    while_compiling,
)
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
    compile_s: float

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


def open_desk(settings: RunConfig) -> Desk:
    """Load and compile the policy, open the source, build the graph.

    Raises:
        ConfigError: a policy that can't be used, a stream that is not there.
    """
    assert settings.policy.name is not None  # as RunConfig.check saw to
    own = [load_signal(name) for name in settings.policy.signals]
    declared = load_policy(settings.policy.name)
    policy, policy_s = while_compiling(lambda: compile_policy(declared, own, max(len(settings.policy.trade), 1)))
    policy.values(split_parameters(settings.policy.parameters)[0])  # refused before anything is read
    feed = open_feed(settings)
    reference = reference_of(settings.source.reference, feed.instruments)
    device, reason = resolve_device(settings.device)
    notes = say(notes_of(feed, reason))
    head, modules = None, settings.modules
    if settings.checkpoint:
        head = ForecastHead.load(settings.checkpoint)
        modules = serve(head, settings.checkpoint, modules, feed.instruments)
    pipeline = Pipeline(feed.instruments, modules, settings.latency, device=device, head=head)
    legs = legs_of(settings.policy.trade, feed.instruments, pipeline.rates)
    compile_s = policy_s + compile_kernels(feed.instruments, modules)
    return Desk(feed, pipeline, head, modules, device, policy, legs, notes, reference, compile_s)


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
