"""Hands: the actions on real things, behind one small port.

A hand looks before it acts. What it saw is kept in the run's journal by a dry run before the act, and the act is
compared with it: an order that is given again after a crash finds that it has happened already and does nothing.
"""

from yaoki.hands.orders import hand_actions
from yaoki.hands.port import AnyHand, Hand, Sight, not_allowed

__all__ = ["AnyHand", "Hand", "Sight", "hand_actions", "not_allowed"]
