"""What the Kalman ghost takes for a mid that repeats, on the CPU, on the device and in the reference."""

from __future__ import annotations

from typing import Any

import torch

from schwabot.modules.graph import Graph
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot_kernels import tree
from schwabot_kernels.align.reference import Aligned
from schwabot_kernels.kalman import reference
from schwabot_kernels.kalman.cpu import KalmanState
from schwabot_kernels.kalman.gpu import kalman
from schwabot_kernels.kalman.op import kalman as kalman_op
from tests.gpu.running import by_cpu, empty, state_on, to
from tests.kernels.making import assert_close, first_events

ROUNDED_BP = 2e-11
"""Two logarithms of a price near 1e5, one unit in the last place apart."""


def test_a_mid_repeats_whichever_logarithm_it_is_of(device: str) -> None:
    """Rounded otherwise at every other event, and otherwise than in the state, it is no more of an observation."""
    market = first_events(SyntheticFeed(SyntheticConfig(events=800, seed=3, streams=3, reprice_share=0.3)), 800)
    graph = Graph(market.instruments)
    _, before = by_cpu(graph, market.batch.rows(0, 400), empty(graph))
    said, after = by_cpu(graph, market.batch.rows(400, 800), before)
    off = ROUNDED_BP * (-1.0) ** torch.arange(400)[:, None]
    rounded = said.aligned._replace(x=said.aligned.x + off)
    first = [int((said.batch.stream == v).byte().argmax()) for v in range(3)]
    assert any(said.aligned.x[row, v] == before.kalman.x[v] for v, row in enumerate(first)), "none repeats the state's"

    r_bp2, q = torch.as_tensor(graph.params.r_bp2), graph.params.q_bp2_per_s
    route, compensated = said.drifted.route, said.drifted.compensated

    def on_cpu(aligned: Aligned, state: KalmanState) -> tuple[torch.Tensor, KalmanState]:
        given = [part.T.contiguous() for part in (aligned.x, compensated, route)]
        found = kalman_op(said.batch.stream, given[0], aligned.dt_s, given[1], given[2], r_bp2, q, tree.leaves(state))
        return found[0], KalmanState(*found[1:])

    def on_device(aligned: Aligned, state: Any) -> tuple[torch.Tensor, Any]:
        given = to((said.batch.stream, aligned, compensated, route), device)
        return to(kalman(*given, q, r_bp2.to(device), state, edge=32, block=8), "cpu")

    for ghost, left in (on_cpu(rounded, before.kalman), on_device(rounded, state_on(before, device).kalman)):
        assert_close(said.filtered, ghost, 1e-9, "ghost")
        assert_close(torch.as_tensor(after.kalman.moments), left.moments, 1e-9, "mean and variance")
        assert_close(torch.as_tensor(after.kalman.x), left.x, 1e-9, "last mids")
    wanted, found = (
        reference.kalman(said.batch.stream, one, compensated, route, q, r_bp2) for one in (said.aligned, rounded)
    )
    assert_close(wanted, found, 1e-9, "reference")
