"""What both processes know: events, targets, teams, receipts, and how the ledger changes; no I/O."""
