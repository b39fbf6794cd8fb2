"""The technologies behind `recovery.ports`, one module each."""
