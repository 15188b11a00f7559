"""A trained head in a file: what comes back, and what is refused instead of being misread."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from schwabot.errors import StateError
from schwabot.modules.forecast import FEATURES, FEATURES_VERSION, FORMAT, ForecastHead

ROLES = ("a:*/USD", "b:*/USD:*")
ARRAYS = {"scale": np.arange(18.0).reshape(2, 9), "coefficients": np.random.default_rng(0).normal(size=(2, 2, 2, 9))}
SAID: dict[str, Any] = {
    "schwabot_head": FORMAT,
    "features_version": FEATURES_VERSION,
    "features": FEATURES,
    "roles": ROLES,
    "horizons_ms": (50.0, 100.0),
    "clip": 12.0,
    "settings": {"modules.ghost_bridge.estimator": "weighted"},
    "provenance": {"events": 3},
    "fingerprint": ForecastHead(ROLES, (50.0, 100.0), **ARRAYS).fingerprint,
}


def written(file: Path, arrays: dict[str, Any] = ARRAYS, **said: object) -> Path:
    save_file(arrays, str(file), metadata={"schwabot": json.dumps(SAID | said)})
    return file


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    head = ForecastHead(ROLES, (50.0, 100.0), ARRAYS["scale"], ARRAYS["coefficients"], 9.0, {"x": 1}, {"y": [2]})
    head.save(tmp_path / "head")
    again = ForecastHead.load(tmp_path / "head")
    assert (again.roles, again.horizons_ms, again.clip) == (ROLES, (50.0, 100.0), 9.0)
    assert (again.settings, again.provenance, again.fingerprint) == ({"x": 1}, {"y": [2]}, head.fingerprint)
    assert again.scale.tobytes() == ARRAYS["scale"].tobytes()
    assert again.coefficients.tobytes() == ARRAYS["coefficients"].tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["head"]
    assert ForecastHead.load(written(tmp_path / "by_hand")).horizons_ms == (50.0, 100.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schwabot_head": 99}, "is of format 99"),
        ({"features_version": 0}, "features of version 0"),
        ({"features": FEATURES[::-1]}, "features"),
        ({"roles": "ab"}, "roles ab"),
        ({"roles": [1, 2]}, "roles"),
        ({"roles": ROLES[::-1]}, "sorted"),
        ({"roles": None}, "roles"),
        ({"horizons_ms": [100.0, 50.0]}, "increase"),
        ({"horizons_ms": [50.0, float("nan")]}, "increase"),
        ({"horizons_ms": [50.0, float("inf")]}, "increase"),
        ({"horizons_ms": [0.0, 50.0]}, "increase"),
        ({"horizons_ms": ["x", "y"]}, "could not convert"),
        ({"clip": 0.0}, "clip positive"),
        ({"clip": None}, "NoneType"),
        ({"settings": [1]}, "names with values"),
        ({"arrays": {"scale": ARRAYS["scale"]}}, "coefficients"),
        ({"arrays": ARRAYS | {"scale": ARRAYS["scale"][:1]}}, "shapes"),
        ({"arrays": ARRAYS | {"scale": -ARRAYS["scale"]}}, "not negative"),
        ({"arrays": ARRAYS | {"scale": ARRAYS["scale"] * np.nan}}, "finite"),
        ({"arrays": ARRAYS | {"coefficients": np.full((2, 2, 2, 9), 1e308)}}, "moves of inf bp"),
        ({"arrays": ARRAYS | {"coefficients": -ARRAYS["coefficients"]}}, "changed or damaged"),
        ({"clip": 11.0}, "changed or damaged"),
        ({"fingerprint": None}, "changed or damaged"),
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(StateError, match=message):
        ForecastHead.load(written(tmp_path / "head", **change))


def test_files_that_hold_no_head(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole").read_bytes()
    for name, content in (("empty", b""), ("random", np.random.default_rng(0).bytes(999)), ("short", whole[:-1])):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    save_file({"x": np.ones(2)}, str(tmp_path / "other"), metadata={"format": "pt"})
    half = {"scale": torch.ones(2, 9, dtype=torch.bfloat16), "coefficients": torch.ones(2, 2, 2, 9)}
    save_tensors(half, str(tmp_path / "half"), metadata={"schwabot": json.dumps(SAID)})
    with pytest.raises(StateError, match="folder: is a folder; name the file in it"):
        ForecastHead.load(tmp_path / "folder")
    for name in ("empty", "random", "short", "half"):
        with pytest.raises(StateError, match=f"{name}: is no whole checkpoint"):
            ForecastHead.load(tmp_path / name)
    with pytest.raises(StateError, match="other: holds no forecast head"):
        ForecastHead.load(tmp_path / "other")
    with pytest.raises(StateError, match="there is no such checkpoint"):
        ForecastHead.load(tmp_path / "nothing")
