"""Answers that we give in a venue's place, told when their time has come."""

from __future__ import annotations

from schwabot.records.order import Ending, Report, Request, Told


class Held:
    """Refusals that wait, and answers to what was asked of the refused orders meanwhile.

    Example:
        >>> from schwabot.records.order import Action
        >>> held = Held()
        >>> held.refuse(Request(0, "a-0", "x:A/B", Action.POST, 1, 2, 100, -1, 0, 5, 99, 100), 50)
        >>> held.answer(Request(1, "a-1", "x:A/B", Action.CANCEL, 1, 0, 0, 0, 0, 6, 99, 100))
        True
        >>> held.take(49), [(report.told.name, report.number) for report in held.take(50)]
        ([], [('ENDED', 0), ('TOO_LATE', 1)])
    """

    def __init__(self) -> None:
        self._reports: list[Report] = []  # by time
        self._due_ns: dict[int, int] = {}  # of refused orders that were not told yet

    def refuse(self, request: Request, due_ns: int) -> None:
        """An order ends, refused, at that time; no earlier one may be refused for later."""
        self._due_ns[request.number] = due_ns
        self._reports.append(Report(Told.ENDED, request.number, due_ns, request=request.number, ending=Ending.REFUSED))

    def answer(self, request: Request) -> bool:
        """A cancel or replace of an order that was refused comes too late, with its end; False = it is of another."""
        due_ns = self._due_ns.get(request.of)
        if due_ns is None:
            return False
        self.too_late(request, due_ns)
        return True

    def too_late(self, request: Request, due_ns: int) -> None:
        """A cancel or replace finds nothing to change."""
        at = len(self._reports)
        while at and self._reports[at - 1].ts_ns > due_ns:
            at -= 1
        self._reports.insert(at, Report(Told.TOO_LATE, request.number, due_ns, request=request.number))

    def take(self, now_ns: int) -> list[Report]:
        """What is told now."""
        count = 0
        while count < len(self._reports) and self._reports[count].ts_ns <= now_ns:
            self._due_ns.pop(self._reports[count].number, None)
            count += 1
        told, self._reports = self._reports[:count], self._reports[count:]
        return told

    def __bool__(self) -> bool:
        return bool(self._reports)
