"""Takes backups, proves that they restore, and restores them."""
