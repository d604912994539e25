"""What operators look at: metrics, alerts, the dashboard, the runbook."""
