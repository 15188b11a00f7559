"""``schwabot doctor``: what is wrong with this machine or set-up, and what to do about it.

::

    python -m schwabot.doctor --venues binance,kraken
    python -m schwabot.doctor mode=live source=ccxt 'source.streams=["binance:BTC/USDT"]' ...   # what such a run needs

Every library is imported where it is asked for: one that is missing or broken is a line of the report.
"""
