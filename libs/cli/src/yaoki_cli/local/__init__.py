"""The whole system on this machine: servers, agents, services and the example application as separate processes."""
