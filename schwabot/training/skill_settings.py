"""Settings of the skill meter. Kept apart from it so that ``--help`` needs no more than this."""

from __future__ import annotations

from dataclasses import dataclass

from schwabot.errors import ConfigError


@dataclass(frozen=True)
class SkillConfig:
    """What the skill meter measures.

    Args:
        enabled: ``auto`` (stops after ``max_events``), ``on`` or ``off``.
        max_events: events measured by ``auto``.
        horizons_ms: how far ahead the outcome lies.
        block_s: length of a bootstrap block.
        draws: bootstrap resamples; 0 = no interval.
        seed: of the bootstrap.
        grid_ms: step of the time grid for ``r2_grid``.
        grid_stale_ms: grid points longer than this after the last event are left out (nothing trades).
        placebo_s: age of the placebo's forecast.
        skip_ms: ``r2_after_1ms`` counts the outcome from this long after the row on.
        top_blocks: blocks of most energy that ``r2_without_top3`` leaves out.
        prior_bp2: pull of the slope to zero, in units of the sum of squared deviations; too little of it and the first
            few rows, whose outcomes overlap, fit wild slopes that cost more R² than the rest of the run earns.

    Raises:
        ConfigError: a value that can't be used.

    Example:
        >>> SkillConfig(horizons_ms=(100,)).block_s
        5.0
    """

    enabled: str = "auto"
    max_events: int = 5_000_000
    horizons_ms: tuple[int, ...] = (10, 50, 100, 500, 1000)
    block_s: float = 5.0
    draws: int = 1000
    seed: int = 0
    grid_ms: float = 10.0
    grid_stale_ms: float = 1000.0
    placebo_s: float = 7.0
    skip_ms: float = 1.0
    top_blocks: int = 3
    prior_bp2: float = 1.0

    def __post_init__(self) -> None:
        if self.enabled not in ("auto", "on", "off"):
            raise ConfigError(f"skill.enabled is {self.enabled!r}; choose 'auto', 'on' or 'off' (quoted in YAML)")
        if not self.horizons_ms or any(h <= 0 for h in self.horizons_ms):
            raise ConfigError(f"skill.horizons_ms must be one or more positive numbers, got {self.horizons_ms}")
        if len(set(self.horizons_ms)) != len(self.horizons_ms):
            raise ConfigError(f"skill.horizons_ms names a horizon twice: {self.horizons_ms}")
        for name in ("max_events", "block_s", "grid_ms", "prior_bp2"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"skill.{name} must be positive, got {getattr(self, name)}")
        for name in ("draws", "seed", "grid_stale_ms", "placebo_s", "skip_ms", "top_blocks"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"skill.{name} must not be negative, got {getattr(self, name)}")
