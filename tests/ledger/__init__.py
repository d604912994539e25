"""Nothing lost, nothing doubled: processes that die, sleep, drain and race, and a ledger that holds."""
