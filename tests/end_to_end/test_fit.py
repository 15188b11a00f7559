"""mode=fit as a user starts it, and its checkpoint in a replay."""

from __future__ import annotations

import functools
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import schwabot
from schwabot.errors import ConfigError
from schwabot.modules.forecast import ForecastHead
from schwabot.run import main
from schwabot.sinks.gpu_telemetry import GpuTelemetry, Reading

MARKET = ["source.events=24000", "source.streams=3"]
SMALL = ["fit.folds=2", "fit.blocks=2", "fit.ridge=[0.3,1.0]", "skill.draws=20"]


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return found


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fit")
    card = GpuTelemetry(lambda: Reading(0.0, 0.0, power_w=300.0), {"name": "a card"}, every_s=0.1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("schwabot.sinks.gpu_telemetry.watch_gpu", lambda device: card)
        main(["mode=fit", *MARKET, *SMALL, f"fit.out={folder}/mine.safetensors", f"hydra.run.dir={folder}/run"])
    return folder


def test_the_summary_says_what_was_read_of_a_card(done: Path) -> None:
    gpu = summary(done / "run")["gpu"]
    assert (gpu["name"], gpu["power_mean_w"]) == ("a card", 300.0)
    assert gpu["readings"] >= 1


def test_everything_is_written(done: Path) -> None:
    run = done / "run"
    fit = summary(run)["fit"]
    assert fit["checkpoint"] == str(run / "checkpoint.safetensors")
    assert (done / "mine.safetensors").read_bytes() == (run / "checkpoint.safetensors").read_bytes()
    assert len(fit["folds"]) == 2
    assert sorted(fit["baselines"]) == ["kalman", "mean", "microprice", "weighted"]
    horizons = {"10", "50", "100", "500", "1000"}
    for table in (summary(run)["skill"], *fit["baselines"].values()):
        assert len(table) == 3
        assert all(cells.keys() == horizons for cells in table.values())
    assert "40 %" in summary(run)["skill_note"]
    head = ForecastHead.load(run / "checkpoint.safetensors")
    assert head.horizons_ms == (10.0, 50.0, 100.0, 500.0, 1000.0)
    assert np.isfinite(head.coefficients).all()

    scores = pq.read_table(run / "fit.parquet").to_pylist()
    held_out = {
        (one["predictor"], one["stream"], one["horizon_ms"]): one for one in scores if one["part"] == "held_out"
    }
    assert len(held_out) == 5 * 3 * 5
    stream = head.provenance["streams"].popitem()[0]
    assert held_out["forecast", stream, 100.0]["r2"] == summary(run)["skill"][stream]["100"]["r2"]
    assert {one["part"] for one in scores} >= {"fold_0", "fold_1", f"without {stream}"}


def test_streams_on_which_something_simpler_does_better_are_named(done: Path) -> None:
    found = summary(done / "run")

    def mean(table: dict[str, Any], stream: str, name: str) -> float:
        return float(np.mean([table[stream][h][name] for h in ("50", "100", "500")]))

    for stream in found["skill"]:
        said = [note for note in found["notes"] if note.startswith(f"note: {stream}: on what was held out")]
        for name, rows in (("r2", "quotes"), ("r2_grid", "a 10 ms grid")):
            own = mean(found["skill"], stream, name)
            best = max(0.0, *(mean(table, stream, name) for table in found["fit"]["baselines"].values()))
            assert (f"on {rows} (mean R² {own:.3f} against {best:.3f})" in "".join(said)) is (best > own)
        assert [note.removeprefix("note: ") for note in said] == [one for one in found["fit"]["notes"] if stream in one]
    assert any("does worse than the Kalman ghost price on quotes" in note for note in found["notes"])


def test_tensorboard_has_loss_skill_hparams_and_figure(done: Path) -> None:
    events = EventAccumulator(str(done / "run"))
    events.Reload()
    scalars = events.Tags()["scalars"]
    assert {"loss/fold_0", "loss/fold_1", "loss/validation", "hparam/BTC/forecast_quotes"} <= set(scalars)
    assert [one.step for one in events.Scalars("loss/validation")] == [300, 1000]
    (tag,) = [one for one in scalars if one.startswith("r2/forecast/synthetic_a")]
    assert [one.step for one in events.Scalars(tag)] == [10, 50, 100, 500, 1000]
    assert events.Tags()["images"] == ["held_out_r2"]
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_a_replay_serves_it_and_scores_what_it_was_not_fitted_on(done: Path, tmp_path: Path) -> None:
    main([*MARKET, f"checkpoint={done}/mine.safetensors", "skill.draws=20", f"hydra.run.dir={tmp_path}"])
    served = summary(tmp_path)
    assert served["skill"] == summary(done / "run")["skill"]
    assert served["skill_ghost"] != served["skill"]
    assert "the rest scores it" in served["skill_note"]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("modules.tensor_harness.tau_phase_s=5", "tau_phase_s is 5.0 here and was 10.0"),
        ("modules.voltage_lanes.horizon_ms=200", "horizon_ms=200 is not a horizon"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*MARKET, f"checkpoint={done}/mine.safetensors", override, f"hydra.run.dir={tmp_path}/new"])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["checkpoint=nowhere.safetensors"], 1, "nowhere.safetensors: there is no such checkpoint"),
        (["checkpoint=/"], 1, "/: is a folder; name the file in it"),
        (["mode=fit", "fit.out=/nowhere/x"], 2, "fit.out=/nowhere/x: there is no folder /nowhere"),
        (["mode=fit", "fit.out=/"], 2, "fit.out=/ is a folder"),
        (["mode=fit", f"fit.out={__file__}"], 2, "is a file that is no checkpoint and would be lost"),
        (["fit.out=x"], 2, "fit.out=x does nothing in mode=replay: add mode=fit"),
        (["mode=fit", "checkpoint=x"], 2, "checkpoint=x does nothing in mode=fit"),
        (["mode=fit", "fit.split=1.5"], 2, "fit.split=1.5 is out of range: use 0.05 to 1"),
        (["mode=fit", "source.events=2000"], 1, "are too few to fit on, fit.min_rows=1,000: use more data"),
        (["mode=fit", "modules.voltage_lanes.horizon_ms=200"], 2, "none of the horizons that are fitted"),
    ],
)
def test_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, f"hydra.run.dir={tmp_path}/new"])
    assert ended.value.code == code
    assert said in capsys.readouterr().err


def test_a_head_stays_until_a_fit_has_written_another(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Somebody may serve it: neither a fit that fails, nor one that is stopped, nor another mode takes it away."""
    file = tmp_path / "checkpoint.safetensors"
    into = f"hydra.run.dir={tmp_path}"
    for name in ("config.yaml", file.name):
        (tmp_path / name).write_bytes((done / "run" / name).read_bytes())
    before = file.read_bytes()

    for fails in (["source.events=2000"], ["source=capture", "source.glob=nowhere/*.gz"], ["fit.out=/nowhere/x"]):
        with pytest.raises(SystemExit):
            main(["mode=fit", *fails, into])
        assert file.read_bytes() == before, fails
    in_the_way = tmp_path / "checkpoint.safetensors.part"
    in_the_way.mkdir()  # the head stands and can't be written
    with pytest.raises(SystemExit):
        main(["mode=fit", *MARKET, *SMALL, "fit.folds=0", into])
    in_the_way.rmdir()
    assert file.read_bytes() == before
    said = capsys.readouterr().err
    assert "the checkpoint.safetensors there is of an earlier fit" in said

    main([*MARKET, f"checkpoint={file}", into])  # served into its own folder, too
    assert file.read_bytes() == before
    assert summary(tmp_path)["mode"] == "replay"
    assert not (tmp_path / "fit.parquet").exists()

    main(["mode=fit", *MARKET, *SMALL, "fit.folds=0", "fit.clip=3", into])
    assert ForecastHead.load(file).clip == 3.0
    assert summary(tmp_path)["fit"]["checkpoint"] == str(file)
    assert not any("earlier fit" in note for note in summary(tmp_path)["notes"])


def test_a_head_of_somebody_else_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoint.safetensors").write_text("mine")
    with pytest.raises(SystemExit) as ended:
        main(["mode=fit", *MARKET, f"hydra.run.dir={tmp_path}"])
    assert ended.value.code == 2
    assert "somebody else's" in capsys.readouterr().err
    assert (tmp_path / "checkpoint.safetensors").read_text() == "mine"


@pytest.mark.parametrize(
    ("while_it", "number", "head"),
    [
        ("finding the split", signal.SIGTERM, False),
        ("reading what is fitted on", signal.SIGINT, False),
        ("choosing a penalty", signal.SIGINT, True),
    ],
)
def test_a_fit_that_is_stopped_says_what_there_is(
    tmp_path: Path, while_it: str, number: signal.Signals, *, head: bool
) -> None:
    """A real process and a real signal, stage by stage: while it reads there is no head, and none of a part."""
    command = [sys.executable, "-m", "schwabot.run", "mode=fit", "hydra.run.dir=run", "source.events=60000",
               "source.streams=2", "fit.folds=0", "fit.missing=false"]  # fmt: skip
    child = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    said = ""
    while f"fit: {while_it}" not in said:
        said += (line := child.stderr.readline())
        assert line, said
    child.send_signal(number)
    out, rest = child.communicate(timeout=300)
    assert child.returncode == 130, said + rest
    found = summary(tmp_path / "run")
    assert found["interrupted"] is True
    assert found["skill"] == {}
    assert (tmp_path / "run" / "checkpoint.safetensors").exists() is head
    ending = "there is a checkpoint, but no score" if head else "no head was written"
    assert re.search(rf"interrupted while {while_it}.*: {ending}", out)
    assert any(ending in note for note in found["notes"])
    assert ("fit: choosing a penalty" in said + rest) is head, "nothing is fitted to what was half read"


def test_ctrl_c_keeps_the_checkpoint_and_no_half_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Interrupted as soon as the checkpoint is there."""
    save = ForecastHead.save

    def save_and_interrupt(self: ForecastHead, file: str | Path) -> None:
        save(self, file)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(ForecastHead, "save", save_and_interrupt)
    with pytest.raises(SystemExit) as ended:
        main(["mode=fit", *MARKET, *SMALL, "fit.folds=0", f"hydra.run.dir={tmp_path}"])
    assert ended.value.code == 130
    found = summary(tmp_path)
    assert found["interrupted"]
    assert found["skill"] == {}
    assert "baselines" not in found["fit"]
    assert ForecastHead.load(tmp_path / "checkpoint.safetensors").roles
    assert "there is a checkpoint, but no score" in capsys.readouterr().out


FLOW = """import math
from schwabot.signals import Parameter, signal

@signal(memory=1, tau_ms=Parameter(100.0, low=0.1, high=1e6, unit="ms"))
def flow_lots(s, e, p):
    if s.rows > 0:
        s.memory[0] *= math.exp(-(e.ts_ns - s.last_ns) * 1e-6 / p.tau_ms)
    s.memory[0] += e.trade_side * e.trade_lots
    return s.memory[0]
"""


def test_a_signal_of_ones_own_is_fitted_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "flow_of_the_fit.py").write_text(FLOW)
    monkeypatch.chdir(tmp_path)
    own = ["fit.signals=flow_of_the_fit:flow_lots", "fit.flow_lots.tau_ms=50"]
    small = [*MARKET, *SMALL, "fit.folds=0", "sinks.tensorboard=false"]
    main(["mode=fit", *small, *own, "hydra.run.dir=fit"])
    of = {"of": "flow_of_the_fit:flow_lots", "parameters": {"tau_ms": 50.0}}
    assert summary(tmp_path / "fit")["fit"]["signals"] == {"flow_lots": of}
    checkpoint = "fit/checkpoint.safetensors"

    market = lambda: schwabot.load("synthetic", events=24_000, streams=3)  # noqa: E731 - as users write it
    given = {"signals": ["flow_of_the_fit:flow_lots"], "signal_parameters": {"flow_lots": {"tau_ms": 50}}}
    trained = schwabot.fit(market, blocks=2, folds=0, ridge=[0.3, 1.0], **given)
    assert trained.head.fingerprint == ForecastHead.load(checkpoint).fingerprint
    served = schwabot.Graph(checkpoint=checkpoint).run(market(), wide=["forecasts_bp"], signals="off")
    assert served.wide is not None
    assert np.isfinite(served.wide.column(5).to_numpy()[1000:]).all()

    main(["mode=replay", *MARKET, f"checkpoint={checkpoint}", "sinks.tensorboard=false", "hydra.run.dir=replay"])
    main(["mode=backtest", *MARKET, f"checkpoint={checkpoint}", "hydra.run.dir=backtest"])
    assert {"replay", "backtest"} <= {one.name for one in tmp_path.iterdir()}
    (tmp_path / "flow_of_the_fit.py").write_text(FLOW.replace("+= e.trade_side", "-= e.trade_side"))
    sys.modules.pop("flow_of_the_fit")
    with pytest.raises(SystemExit):
        main(["mode=replay", *MARKET, f"checkpoint={checkpoint}", "hydra.run.dir=other"])
    assert "made of your signal flow_lots, flow_of_the_fit:flow_lots, whose source is another one" in (
        capsys.readouterr().err
    )


def test_in_python() -> None:
    with pytest.raises(ConfigError, match="a fit reads three times"):
        schwabot.fit(schwabot.load("synthetic", events=1000))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"fit.fold: there is no such setting"):
        schwabot.fit("synthetic", {"fold": 2})
    for name, value in (("split", "most"), ("folds", 2.5), ("ridge", 1.0), ("ridge", ["x"]), ("kalman", 7.5)):
        with pytest.raises(ConfigError, match=rf"fit.{name}"):
            schwabot.fit("synthetic", {name: value})


def test_in_python_settings_are_keywords_as_everywhere() -> None:
    market = functools.partial(schwabot.load, "synthetic", events=20_000, streams=2)
    one = schwabot.fit(market, folds=0, blocks=2, missing=False)
    two = schwabot.fit(market, {"folds": 3, "blocks": 2, "missing": False}, folds=0)
    assert one.head.fingerprint == two.head.fingerprint
    assert one.summary["folds"] == two.summary["folds"] == []
    with pytest.raises(ConfigError, match=r"fit.fold: there is no such setting, did you mean folds\?"):
        schwabot.fit(market, fold=2)
    with pytest.raises(ConfigError, match=r"settings=3: use keywords, fit\(..., folds=3\), or a dict"):
        schwabot.fit(market, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("nothing", [3, None, "synthetic"])
def test_in_python_a_function_that_opens_nothing_is_told_so(nothing: object) -> None:
    with pytest.raises(
        ConfigError, match=r"a function that returned .* and no feed: let it open one, lambda: schwabot"
    ):
        schwabot.fit(lambda: nothing)  # type: ignore[arg-type,return-value]
