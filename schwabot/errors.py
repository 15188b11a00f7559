"""Every exception Schwabot raises on purpose.

::

    SchwabotError
    ├── ConfigError (ValueError)             a setting that can't be used
    │   └── PolicyError                      a policy or signal of one's own that can't be used; says file and line
    ├── DeviceError (RuntimeError)           a device that was required and is not there
    ├── ClusterError (RuntimeError)          a cluster that can't be used, or lost its workers
    ├── VenueError (RuntimeError)            a venue that can't be reached, or refuses
    ├── JournalError (RuntimeError)          a journal of orders that can't be used, or an account in use
    ├── StateError (ValueError)              saved state that does not fit the graph it is given to, or a graph in use
    ├── FitError (ValueError)                data that can't tell what was to be fitted
    ├── SendError (RuntimeError)             a messenger that did not take an alert
    └── DataError (ValueError)               bad input; says file and line
        ├── CorruptFileError                 a file that ends early or does not unpack
        ├── EmptyFileError                   a file without a single row
        ├── SchemaError                      a file whose columns or types are not what was promised
        ├── MalformedLineError               half a line, invalid JSON, a field that is not a number
        ├── BadPriceError                    NaN, infinite, zero or negative price or quantity
        ├── CrossedQuoteError                bid above ask
        ├── BadTimeError                     time in another unit, or far from the venue's stamp
        ├── NothingLeftError                 a source whose every row was dropped
        ├── UnsortedTimeError                receive time that runs backwards
        ├── UnknownStreamError               an instrument that nobody described
        ├── SequenceGapError                 update ids of an order book that do not join
        └── OverlapError                     two files that tell of one stream at the same time

Messages say what was wrong, where, and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class SchwabotError(Exception):
    """Base of every error raised on purpose."""


class ConfigError(SchwabotError, ValueError):
    """A setting that can't be used; the message lists the valid choices."""


class PolicyError(ConfigError):
    """A policy or a signal of one's own that can't be declared, loaded or compiled.

    Args:
        what: what can't be used, and what to write instead.
        file: the file it is in, if known.
        line: 1-based line in that file, if known.

    Example:
        >>> str(PolicyError("text can't be used", file="mine.py", line=7))
        "mine.py:7: text can't be used"
    """

    def __init__(self, what: str, *, file: str | None = None, line: int | None = None) -> None:
        self.what = what
        self.file = file
        self.line = line
        where = "" if file is None else f"{file}: " if line is None else f"{file}:{line}: "
        super().__init__(where + what)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_policy, (self.what, self.file, self.line))


def _rebuild_policy(what: str, file: str | None, line: int | None) -> PolicyError:
    return PolicyError(what, file=file, line=line)


class DeviceError(SchwabotError, RuntimeError):
    """A device was required (``device.required=true``) and can't be used, or failed on the way."""


class ClusterError(SchwabotError, RuntimeError):
    """A cluster that can't be reached, gives no worker, or lost too many of them."""


class VenueError(SchwabotError, RuntimeError):
    """A venue that can't be reached, or refuses what it is asked."""


class JournalError(SchwabotError, RuntimeError):
    """A journal of orders that is in use, of another version, or told something twice; an account in use."""


class StateError(SchwabotError, ValueError):
    """Saved or passed state does not fit the module it is given to, or another thread is using the module."""


class FitError(SchwabotError, ValueError):
    """The data can't tell what was to be fitted: too little of it, or nothing in it moves."""


class SendError(SchwabotError, RuntimeError):
    """A messenger did not take an alert that had to arrive."""


class DataError(SchwabotError, ValueError):
    """Bad input data.

    Args:
        what: what was wrong and, where useful, what to do.
        file: the file it was found in, if any.
        line: 1-based line (or row) in that file, if known.

    Example:
        >>> str(DataError("price is NaN", file="btc.gz", line=7))
        'btc.gz:7: price is NaN'
    """

    reason = "data"
    """Key under which drops of this kind are counted (``summary.json: dropped.{reason}``)."""

    def __init__(self, what: str, *, file: str | None = None, line: int | None = None) -> None:
        self.what = what
        self.file = file
        self.line = line
        where = "" if file is None else f"{file}: " if line is None else f"{file}:{line}: "
        super().__init__(where + what)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.file, self.line))


def _rebuild(cls: type[DataError], what: str, file: str | None, line: int | None) -> DataError:
    return cls(what, file=file, line=line)


class CorruptFileError(DataError):
    """A file that ends early or does not unpack."""

    reason = "corrupt_file"


class EmptyFileError(DataError):
    """A file without a single row."""

    reason = "empty_file"


class SchemaError(DataError):
    """A file whose columns or types are not what was promised."""

    reason = "schema"


class MalformedLineError(DataError):
    """Half a line, invalid JSON, or a field that is not what it should be."""

    reason = "malformed"


class BadPriceError(DataError):
    """A NaN, infinite, zero or negative price, or a negative or non-finite quantity."""

    reason = "bad_price"


class CrossedQuoteError(DataError):
    """A bid above the ask of the same quote."""

    reason = "crossed"


class UnsortedTimeError(DataError):
    """Receive time runs backwards within one file."""

    reason = "unsorted"


class UnknownStreamError(DataError):
    """An instrument that conf/instruments does not describe."""

    reason = "unknown_stream"


class SequenceGapError(DataError):
    """Order book update ids that do not join: something between them was lost."""

    reason = "gap"


class BadTimeError(DataError):
    """Time in another unit than it was read in or before 1970, or a venue's stamp more than a day from the receipt."""

    reason = "bad_time"


class NothingLeftError(DataError):
    """Every row of a file or source was dropped."""

    reason = "nothing_left"


class OverlapError(DataError):
    """Two files tell of the same stream at the same time."""

    reason = "overlap"


def closest(given: str, names: Iterable[str]) -> str:
    """``, did you mean ...?`` for the name that is closest, or nothing; of a dotted name the last part will do.

    Example:
        >>> closest("capturee", ["capture", "store"]), closest("forecast", ["ghost_bp", "forecast_bp"])
        (', did you mean capture?', ', did you mean forecast_bp?')
        >>> closest("treshold_bp", ["policy.threshold_bp", "policy.lots"])
        ', did you mean policy.threshold_bp?'
    """
    whole = list(dict.fromkeys(names))
    known = {name.rpartition(".")[2]: name for name in whole} | {name: name for name in whole}
    begun = [name for name in whole if given and name.startswith(given)]
    close = begun or get_close_matches(given, list(known), n=1, cutoff=0.6)
    close = close or [name for name in whole if given and given in name]
    return f", did you mean {known[close[0]]}?" if close else ""


def why(error: BaseException) -> str:
    r"""What went wrong, in one line.

    Example:
        >>> why(RuntimeError("CUDA error: unspecified launch failure\nCompile with ..."))
        'RuntimeError: CUDA error: unspecified launch failure'
    """
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
