"""Nothing is lost or duplicated: processes that die, sleep, drain and race."""
