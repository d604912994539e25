"""The common model: events, targets, teams, receipts, and how the ledger changes; no I/O."""
