"""Lead-lag of two streams by definition, in plain torch. n + 1 and m + 1 prices, L lags, B blocks of time, K bins.

    U(theta)   = sum_i sum_j dX_i dY_j 1{I_i and J_j - theta have a point in common}
                 I_i = (s_{i-1}, s_i], J_j = (t_{j-1}, t_j]: the times between two prices of X and of Y
    rho(theta) = sum_k rX_k rY_k / sqrt(sum rX^2 * sum rY^2)
                 r = what the price moved within bin k = [k w, (k + 1) w), the bins of Y moved on by theta

theta > 0 compares Y with what X did theta earlier: a peak there says that X leads. O(n m) per lag.
"""

from __future__ import annotations

import torch


def contrast(
    time_x: torch.Tensor,
    x: torch.Tensor,
    time_y: torch.Tensor,
    y: torch.Tensor,
    lags: torch.Tensor,
    block: torch.Tensor,
    blocks: int,
) -> torch.Tensor:
    """U(theta), split by the block of time in which the move of X ends; the sum over blocks is U.

    Args:
        time_x: stamps of X, int64 ns, strictly increasing. [n + 1]
        x: prices or log prices. [n + 1]
        time_y: stamps of Y, likewise. [m + 1]
        y: prices or log prices. [m + 1]
        lags: theta, int64 ns. [L]
        block: of every price of X; that of the first is not used. [n + 1]
        blocks: B.

    Shape: [L, B].

    Source: Hayashi and Yoshida (2005), "On covariance estimation of non-synchronously observed diffusion processes";
    Hoffmann, Rosenbaum and Yoshida (2013), "Estimation of the lead-lag parameter from non-synchronous data".

    Example:
        >>> time, one = torch.tensor([0, 10, 20]), torch.zeros(3, dtype=torch.int64)
        >>> x, y = torch.tensor([0.0, 1.0, 1.0]), torch.tensor([0.0, 0.0, 1.0])  # Y does 10 later what X does
        >>> contrast(time, x, time, y, torch.tensor([-10, 0, 10]), one, 1).ravel().tolist()
        [0.0, 0.0, 1.0]
    """
    dx, dy = x.diff(), y.diff()
    out = torch.zeros(len(lags), blocks, dtype=x.dtype)
    for row, lag in enumerate(lags.tolist()):
        starts = torch.maximum(time_x[:-1, None], time_y[None, :-1] - lag)
        ends = torch.minimum(time_x[1:, None], time_y[None, 1:] - lag)
        both = (starts < ends).to(x.dtype)
        out[row].index_add_(0, block[1:], dx * (both @ dy))
    return out


def bin_correlation(
    time_x: torch.Tensor,
    x: torch.Tensor,
    time_y: torch.Tensor,
    y: torch.Tensor,
    lags: torch.Tensor,
    width: int,
    origin: int,
) -> torch.Tensor:
    """Correlation of the moves within bins of one width, the bins of Y moved on by theta; at most 1 in size.

    Args:
        time_x: as for ``contrast``, like x, time_y, y and lags.
        x: [n + 1]
        time_y: [m + 1]
        y: [m + 1]
        lags: [L]
        width: w, of a bin, ns.
        origin: where bin 0 begins; at or before every time and every time of Y minus theta.

    Shape: [L]; NaN where either did not move.

    Example:
        >>> time, x, y = torch.tensor([0, 10, 20]), torch.tensor([0.0, 1.0, 1.0]), torch.tensor([0.0, 0.0, 2.0])
        >>> bin_correlation(time, x, time, y, torch.tensor([0, 10]), 10, -10).tolist()
        [0.0, 1.0]
    """
    bins = int(torch.maximum(time_x[-1], time_y[-1] - lags.min()) - origin) // width + 1
    moves_x = torch.zeros(bins, dtype=x.dtype).index_add_(0, (time_x[1:] - origin) // width, x.diff())
    out = torch.zeros(len(lags), dtype=x.dtype)
    for row, lag in enumerate(lags.tolist()):
        bin_y = (time_y[1:] - lag - origin) // width
        moves_y = torch.zeros(bins, dtype=y.dtype).index_add_(0, bin_y, y.diff())
        out[row] = (moves_x @ moves_y) / torch.sqrt((moves_x @ moves_x) * (moves_y @ moves_y))
    return out
