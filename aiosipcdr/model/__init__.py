"""What callers hold: records, windows, reports, money and errors."""
