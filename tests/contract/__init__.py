"""What the service relies on other systems for, tried against the real thing and its fake."""
