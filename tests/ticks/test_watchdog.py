"""When a stream is silent, what stands in for it, and when it is trusted again."""

from __future__ import annotations

from schwabot.ticks.watchdog import Backoff, Delay, Silence


def test_a_stream_with_long_gaps_is_not_called_silent() -> None:
    quiet = Silence(5.0)
    for at in range(0, 100, 10):
        quiet.heard(float(at))
    assert not quiet.is_silent(90.0 + 39.0)
    assert quiet.is_silent(90.0 + 41.0)


def test_the_longest_gap_is_forgotten_in_time() -> None:
    quiet = Silence(1.0)
    quiet.heard(0.0)
    quiet.heard(10.0)
    assert quiet.limit_s == 40.0
    for at in range(1000):
        quiet.heard(10.0 + 0.01 * at)
    assert quiet.limit_s == 1.0


def test_a_lost_connection_is_no_gap_of_the_stream() -> None:
    quiet = Silence(1.0)
    quiet.heard(0.0)
    quiet.heard(0.1)
    quiet.restarted(50.0)
    quiet.heard(60.0)
    assert quiet.limit_s == 1.0


def test_silences_in_vain_have_to_last_longer_each_time() -> None:
    quiet = Silence(1.0)
    limits = []
    for at in range(4):
        limits.append(quiet.limit_s)
        quiet.doubt()
        quiet.restarted(float(at))
    assert limits == [1.0, 2.0, 4.0, 8.0]
    quiet.heard(5.0)
    assert quiet.limit_s == 1.0


def test_the_first_message_is_waited_for_unless_silence_may_be_normal() -> None:
    assert Silence(5.0).is_silent(5.1)
    seldom = Silence(5.0, needed=2)
    seldom.heard(1.0)
    assert not seldom.is_silent(1e6)
    seldom.heard(2.0)
    assert seldom.is_silent(7.1)


def test_waits_double_and_differ_between_clients() -> None:
    one, other = Backoff(0.25, 30.0, seed=1), Backoff(0.25, 30.0, seed=2)
    waits = [one.next_s() for _ in range(20)]
    assert all(0.125 * 2**n <= wait < 0.25 * 2**n for n, wait in enumerate(waits[:7]))
    assert all(15.0 <= wait < 30.0 for wait in waits[8:])
    assert waits[:5] != [other.next_s() for _ in range(5)]
    one.reset()
    assert one.next_s() < 0.25


def test_delay_counts_from_the_fastest_message() -> None:
    late = Delay(5.0)
    for delay_s in (-1.27, -1.2, 3.7):  # the venue's clock is ahead of ours
        late.heard(delay_s)
        assert not late.is_behind
    late.heard(3.8)
    assert late.is_behind
    late.restarted()
    late.heard(3.8)  # our clock was set, say: not behind for ever
    assert not late.is_behind


def test_a_market_that_was_quiet_says_nothing_of_the_next_silence() -> None:
    quiet = Silence(5.0)
    quiet.heard(1.0)
    assert quiet.is_silent(7.0)
    quiet.quiet(7.0)
    assert not quiet.is_silent(11.9)
    assert quiet.is_silent(12.1)
    quiet.quiet(12.1)
    quiet.heard(16.0)
    assert quiet.limit_s == 5.0


def test_time_in_which_we_did_not_listen_is_no_silence() -> None:
    quiet = Silence(5.0)
    quiet.heard(1.0)
    quiet.excuse(10.0)
    assert not quiet.is_silent(15.9)
    assert quiet.is_silent(16.1)
