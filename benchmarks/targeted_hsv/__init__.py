"""Which pixels targeted_hsv hits, on real slides and on phantoms, before and after its windows were tightened."""
