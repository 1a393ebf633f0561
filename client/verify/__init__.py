"""The judge: reads what a run left behind and says whether Raft was obeyed.

`gather.py` reads a folder into facts: lines of the nodes (`lines.py`, `node_events.py`), lives of the nodes
(`facts.py`), the client's log and histories. `checks/` holds one function for each property, `rules.py` lists them,
`verdict.py` is what comes out, `table.py` shows it to a person.
"""
