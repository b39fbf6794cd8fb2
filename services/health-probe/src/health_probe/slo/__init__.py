"""The slo role: what was promised, what was kept, and when work may be done."""
