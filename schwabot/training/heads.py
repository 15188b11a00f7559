"""What a trained head needs to be served as it was fitted, and what it must not be scored on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from schwabot.errors import ConfigError
from schwabot.modules.forecast import ForecastHead, role_of
from schwabot.modules.settings import ModulesConfig
from schwabot.records.instrument import Instrument
from schwabot.signals.own_features import find_signals


def feature_settings(modules: ModulesConfig) -> dict[str, Any]:
    """Settings on which the features depend, by their full names, with their values.

    Example:
        >>> feature_settings(ModulesConfig())["modules.tensor_harness.tau_phase_s"]
        10.0
    """
    harness = modules.tensor_harness
    return {f"modules.tensor_harness.{one.name}": getattr(harness, one.name) for one in fields(harness)}


def serve(head: ForecastHead, file: str, modules: ModulesConfig, instruments: Sequence[Instrument]) -> ModulesConfig:
    """Settings of a run that serves a head: those given, with the head's own q and r for the Kalman ghost.

    Args:
        head: to serve.
        file: named in errors.
        modules: settings of the run.
        instruments: streams of the run.

    Raises:
        ConfigError: its features would not mean what they meant in training, a signal of the user's own that it is made
            of is not there as it was, it knows none of the streams, or lacks a horizon; with the reason.
    """
    kalman = head.provenance.get("kalman")
    if kalman and modules.ghost_bridge.estimator == "kalman":
        modules = with_kalman(modules, kalman, instruments)
    now = feature_settings(modules)
    odd = [
        f"{name} is {now.get(name)} here and was {value}"
        for name, value in head.settings.items()
        if now.get(name) != value
    ]
    if odd:
        raise ConfigError(
            f"checkpoint={file} was fitted with other settings, so its features would mean something else:"
            f" {'; '.join(odd[:4])}{'; ...' if len(odd) > 4 else ''}; use those, or fit again with mode=fit"
        )
    find_signals(head.own, f"checkpoint={file}")
    try:
        head.params(instruments, modules.voltage_lanes.horizon_ms, modules.hash_registry.horizon_ms)
    except ConfigError as error:
        raise ConfigError(f"checkpoint={file}: {error}") from None
    return modules


def with_kalman(modules: ModulesConfig, kalman: Mapping[str, Any], instruments: Sequence[Instrument]) -> ModulesConfig:
    """Settings with fitted q and r of the Kalman ghost; a role that was not there keeps what is configured."""
    by_role = kalman["r_bp2"]
    known = {one.stream: by_role[role_of(one)] for one in instruments if role_of(one) in by_role}
    bridge = replace(modules.ghost_bridge, kalman_q_bp2_per_s=kalman["q_bp2_per_s"], kalman_r_by_stream_bp2=known)
    return replace(modules, ghost_bridge=bridge)


def fitted_spans(head: ForecastHead, instruments: Sequence[Instrument]) -> list[tuple[int, int]]:
    """Spans of time, embargo included, in which a head was fitted on any of these streams: nothing there scores it."""
    embargo_ns = round(float(head.provenance.get("embargo_s", 0.0)) * 1e9)
    streams = head.provenance.get("streams", {})
    found = {tuple(streams[one.stream]) for one in instruments if one.stream in streams}
    return sorted((first - embargo_ns, last + embargo_ns) for first, last in found)


def spans_note(head: ForecastHead, instruments: Sequence[Instrument], first_ns: int, last_ns: int) -> str:
    """What a reader of a head's skill has to know of what it was fitted on; empty when it knew nothing of these hours.

    Args:
        head: that is scored.
        instruments: streams of the run.
        first_ns: first event of the run.
        last_ns: its last.
    """
    own = [span for span in fitted_spans(head, instruments) if span[0] <= last_ns and span[1] >= first_ns]
    if own:
        seconds = sum(min(last, last_ns) - max(first, first_ns) for first, last in own) / 1e9
        whole = all(first_ns >= first and last_ns <= last for first, last in own)
        rest = "nothing is left to score it: skill is absent" if whole else "the rest scores it"
        return f"the checkpoint was fitted on {seconds:,.1f} s of these streams, embargo included: {rest}"
    others = head.provenance.get("streams", {})
    same = [name for name, (first, last) in others.items() if first <= last_ns and last >= first_ns]
    return f"the checkpoint was fitted on other streams of these hours: {', '.join(sorted(same))}" if same else ""


def fitted_seconds(head: ForecastHead, first_ns: int, last_ns: int) -> float:
    """How much of a span of time a head was fitted on, on whatever streams: what it says there is no forecast.

    Args:
        head: that is served.
        first_ns: first event of the span.
        last_ns: its last.

    Example:
        >>> import numpy as np
        >>> head = ForecastHead(("a:*/USD",), (100.0,), np.ones((1, 9)), np.zeros((1, 1, 1, 9)),
        ...                     provenance={"streams": {"a:B/USD": [10**9, 5 * 10**9]}})
        >>> fitted_seconds(head, 2 * 10**9, 9 * 10**9)
        3.0
    """
    spans = [tuple(span) for span in head.provenance.get("streams", {}).values()]
    return max((max(0, min(last, last_ns) - max(first, first_ns)) for first, last in spans), default=0) / 1e9


def fitted_note(head: ForecastHead | None, first_ns: int, last_ns: int) -> str:
    """What who trades on a head has to know; empty when it knew nothing of these hours."""
    seconds = 0.0 if head is None else fitted_seconds(head, first_ns, last_ns)
    if seconds == 0.0:
        return ""
    return (
        f"the checkpoint was fitted on {seconds:,.1f} s of the {(last_ns - first_ns) / 1e9:,.1f} s that were traded,"
        " by the clock: its forecasts there know what came after, so what was made there is no evidence; trade on other"
        " hours"
    )


def missing_note(head: ForecastHead, instruments: Sequence[Instrument]) -> str:
    """Which streams of its training a served head has to do without; empty when all are there.

    Example:
        >>> import numpy as np
        >>> head = ForecastHead(("a:*/USD", "b:*/USD"), (100.0,), np.ones((2, 9)), np.zeros((1, 2, 2, 9)))
        >>> missing_note(head, [Instrument("a:ETH/USD", 0.01, 1.0)])
        'the checkpoint was fitted with streams that are not here and count as missing: b:*/USD'
    """
    here = {role_of(one) for one in instruments}
    away = [role for role in head.roles if role not in here]
    said = "the checkpoint was fitted with streams that are not here and count as missing: "
    return said + ", ".join(away) if away else ""
