"""How large DALI's graph of each policy of Table 8 is, before and after a change of it."""
