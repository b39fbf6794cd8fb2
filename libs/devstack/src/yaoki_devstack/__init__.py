"""Real NATS, PostgreSQL, Redis and S3 servers on this machine, with handles to break them."""
