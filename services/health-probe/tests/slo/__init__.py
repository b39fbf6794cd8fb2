"""The slo role: pure decisions by property, the rest on a real NATS."""
