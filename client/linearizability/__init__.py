"""Whether recorded client histories could have come from one copy of the data (linearizability, Herlihy & Wing 1990).

`history.py` reads the recorded lines, `model.py` says what each operation does to a key, `search.py` looks for an order
that explains every answer, `explain.py` says in few operations why there is none, `check.py` puts them together.
"""

from client.linearizability.check import KeyVerdict, check_history
from client.linearizability.explain import Explanation
from client.linearizability.history import HistoryError, Operation, read_history
from client.linearizability.search import Outcome

__all__ = ["Explanation", "HistoryError", "KeyVerdict", "Operation", "Outcome", "check_history", "read_history"]
