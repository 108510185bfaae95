"""The two engines: ``actors``, the readable reference, and ``compiled``, the fast one."""
