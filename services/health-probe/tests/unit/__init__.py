"""A package, so that its conftest is told apart from the others."""
