# mypy: disable-error-code=has-type
"""The simulated exchange in plain Python, row by row, in whole numbers: what the compiled ones must agree with."""

from __future__ import annotations

from types import SimpleNamespace as Thing
from typing import Any

from schwabot_kernels.simulate import state as end
from schwabot_kernels.simulate.intent import CANCEL, NOTHING, POST, REPLACE, TAKE
from schwabot_kernels.simulate.records import CALLS, PROPORTIONAL, SLOTS


class Leg(Thing):
    """A traded stream: requests and reports (so many are through), own orders by slot, there and here; equity."""

    def __init__(self, v: int, rows: list[Any], terms: list[Any]) -> None:
        super().__init__(v=v, terms=terms[v], rows=[row for row in rows if row.leg == v], cash=0, position=0,
                         touch=None, book=None,  # the last quote that we received, and that the venue went past
                         sent=[], reports=[], fills=[], paid=[], path=[], live={}, known={}, refused=0, passed=0,
                         arrived=0, booked=0)  # fmt: skip

    def tell(self, time: int, q: Any, ended: list[Any], free: bool, fill: Any = (0, 0, 0), rest: int = 0) -> None:
        """A report on a request: what ended how by which; is the slot free; lots, price, maker; lots that rest."""
        at = max([time + self.terms.response(len(self.reports), time), *(one.at for one in self.reports[-1:])])
        self.reports.append(Thing(at=at, time=time, q=q, ended=ended, free=free, fill=fill, rest=rest))

    def advance(self, t: int) -> None:
        """The exchange goes on to a time: the venue's rows and our requests, rows first where the times are equal."""
        while self.rows:
            row = self.rows[self.passed] if self.passed < len(self.rows) else None
            q = self.sent[self.arrived] if self.arrived < len(self.sent) else None
            if row and row.venue_ns <= t and (q is None or row.venue_ns <= q.at):
                self.passed, self.book = self.passed + 1, self.book if row.kind else row
                for slot in sorted(self.live):
                    self.meet(self.live[slot], row)
            elif q and q.at <= min(t, self.rows[-1].venue_ns):
                self.arrive(q)
            else:
                return

    def meet(self, o: Any, row: Any) -> None:
        """A row of the venue meets a resting order."""
        side, price, got = o.q.side, o.q.price, 0
        (own, there), (other, _) = row.quote[side], row.quote[-side]
        if row.kind == 1 and price == row.price and row.side != side:
            got, o.front, o.traded = min(row.lots - o.front, o.lots), max(0, o.front - row.lots), o.traded + row.lots
        elif side * (price - row.price) > 0 if row.kind == 1 else side * (price - other) >= 0:
            got = o.lots  # the market went through its price
        elif row.kind == 0 and side * (price - own) > 0:
            o.front = o.level = o.traded = 0  # nobody else is left there
        elif row.kind == 0 and price == own and there > 0:
            if self.terms.queue == PROPORTIONAL and there < o.level - o.traded:
                o.front -= (o.level - o.traded - there) * o.front // (o.level - o.traded)
            o.front, o.level, o.traded = min(o.front, there), there, 0
        if got > 0:
            o.lots, o.filled = o.lots - got, o.filled + got
            self.tell(row.venue_ns, o.q, [] if o.lots else [(o.q, end.DONE, -1)], not o.lots, (got, price, 1))
            self.live = {slot: one for slot, one in self.live.items() if one.lots}

    def arrive(self, q: Any) -> None:
        """A request reaches the exchange."""
        self.arrived, o, got, why = self.arrived + 1, self.live.pop(q.slot, None), 0, 0
        before, filled, rest = (o.q, o.filled, q.lots - o.filled + q.filled) if o else (None, 0, q.lots)
        (own, there), (other, others) = (self.book.quote[z] for z in (q.side, -q.side)) if self.book else ((0, 0),) * 2
        if q.action in (CANCEL, REPLACE) and o is None:
            why = end.TOO_LATE
        elif q.action == CANCEL or rest <= 0:
            why = end.CANCELLED
        elif o and q.price == o.q.price and rest <= o.lots:
            o.q, o.lots, self.live[q.slot] = q, rest, o  # it keeps its place
        elif self.book is None:
            why = end.NO_BOOK
        elif q.action == TAKE:
            got = min(q.lots, others or q.lots) if q.side * (other - q.price) <= 0 else 0
            why = end.OUTSIDE_LIMIT if not got else end.DONE if got == q.lots else end.REST_CANCELLED
        elif q.side * (q.price - other) >= 0:
            why = end.WOULD_CROSS
        elif q.side * (q.price - own) < 0 or (q.price == own and there == 0):
            why = end.NOT_RECORDED
        else:
            front = there if q.price == own else 0
            self.live[q.slot] = Thing(q=q, lots=rest, filled=filled, front=front, level=front, traded=0)
        ended = [(q, why, -1)] if why else []
        ended += [(before, end.CANCELLED if q.action == CANCEL else end.REPLACED, q.number)] if before else []
        self.tell(q.at, q, ended, why not in (0, end.TOO_LATE), (got, other, 0), 0 if why else rest)

    def book_next(self, i: int) -> None:
        """The next report is booked at row i."""
        m, self.booked = self.reports[self.booked], self.booked + 1
        q, o, (lots, price, maker) = m.q, self.known.get(m.q.slot), m.fill
        for one, how, by in m.ended:
            one.end = (m.at, how, by)
        if lots:
            value, o.lots, o.filled = self.terms.worth(price), o.lots - lots, o.filled + lots
            fee, o.want = self.terms.fee(maker, lots * abs(value)), (max(0, o.want[0] - lots), o.want[1])
            self.position, self.cash = self.position + q.side * lots, self.cash - q.side * lots * value - fee
            self.fills.append(Thing(q=q, lots=lots, price=price, maker=maker, fee=fee, time=m.time, at=m.at, row=i))
        if o and o.change is q:
            o.change, o.want = None, (0, 0)
        if m.rest:
            o.q, o.lots = q, m.rest
        if m.free:
            del self.known[q.slot]

    def send(self, i: int, t: int, number: int, intent: Any) -> bool:
        """Check an intent and send it; False = refused."""
        action, side, lots, price, slot = map(int, intent)
        o = self.known.get(slot) if action in (CANCEL, REPLACE) else None
        slot = slot if o else min(set(range(SLOTS)) - set(self.known), default=-1)
        valid = o.change is None if o else action in (TAKE, POST) and slot >= 0 and abs(side) == 1
        side, more = (o.q.side, lots - o.lots) if o else (side, lots)
        own, others = ([one for one in self.known.values() if one.q.side == z] for z in (side, -side))
        reach = side * self.position + sum(max(one.lots, one.want[0]) for one in own) + more
        prices = [x for one in others if one.action == POST for x in (one.q.price, one.want[1]) if x]
        crosses = action in (POST, REPLACE) and (price < 1 or any(side * (price - x) >= 0 for x in prices))
        if not valid or crosses or (action != CANCEL and (lots < 1 or reach > self.terms.max_lots)):
            return False
        price = (price or self.terms.worst(side, self.touch.quote[-side][0])) if action == TAKE else price
        at = max([t + self.terms.entry(len(self.sent), i), *(one.at for one in self.sent[-1:])])
        lots, price = (0, 0) if action == CANCEL else (lots, price)
        of, filled = (o.q.number, o.filled) if o else (-1, 0)
        q = Thing(number=number, action=action, side=side, lots=lots, price=price, slot=slot, row=i, at=at, of=of,
                  filled=filled, end=(-1, end.OPEN, -1))  # fmt: skip
        o = self.known.setdefault(slot, Thing(q=q, first=q, action=action, lots=lots, filled=0))
        o.change, o.want = (q, (lots, price)) if q is not o.q else (None, (0, 0))
        self.sent.append(q)
        return True


def simulate(rows: list[Any], terms: list[Any], ask: Any) -> list[Leg]:
    """Play rows (with ``quote``: side -> price, lots) by each leg's terms; ``ask(legs, leg, row, call)`` decides."""
    legs = [Leg(v, rows, terms) for v in range(len(terms))]
    for i, row in enumerate(rows):
        for g in legs:
            g.touch = row if row.leg == g.v and row.kind == 0 else g.touch
            g.advance(row.ts_ns)
        for _, v in sorted((m.at, g.v) for g in legs for m in g.reports[g.booked :] if m.at <= row.ts_ns):
            legs[v].book_next(i)
        for g in legs:
            g.paid += [g.terms.funding(g.position * abs(g.touch.mark), rate) for rate in g.terms.due(i) if g.touch]
            g.path.append((2 * (g.cash - sum(g.paid)) + (g.position * g.touch.mark if g.touch else 0), g.position))
            for call in range(CALLS if g.touch else 0):
                intent = ask(legs, g, i, call)
                if intent.action == NOTHING or not g.send(i, row.ts_ns, sum(len(one.sent) for one in legs), intent):
                    g.refused += intent.action != NOTHING
                    break
    return legs
