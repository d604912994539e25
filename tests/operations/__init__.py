"""The tools of operators: metrics, alerts, the dashboard, the runbook."""
