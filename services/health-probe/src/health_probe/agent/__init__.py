"""The host agent: starts, stops, promotes and fences the one PostgreSQL or Redis that lives on its host."""
