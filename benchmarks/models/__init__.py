"""Parts of the model benchmark: rows (networks), the process that times one, counting, the machine's roofs, the page."""
