"""Learning experiments: arms that differ in one thing, trained alike on the phantoms, compared slide by slide."""
