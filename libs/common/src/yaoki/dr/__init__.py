"""Plans for disasters: reading, checking, drawing; what the coordinator, the command line and the docs share."""

from yaoki.dr.compiling import DrPlan
from yaoki.dr.library import PlanLibrary, library_of
from yaoki.dr.reading import PlanErrors

__all__ = ["DrPlan", "PlanErrors", "PlanLibrary", "library_of"]
