"""What must hold of an engine's state between two instants, whatever the run: for tests.

`view` is the state of a network in one form for both engines and `rules` what must hold of it; `compiled`
and `actors` build that form from their engine and add what only that engine keeps, such as a heap or a
queue. They are called by the engines' `_check`, read everything and write nothing.
"""
