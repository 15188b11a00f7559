"""Where ticks come from: feeds that yield ``records.market.Ticks``. No torch here."""
