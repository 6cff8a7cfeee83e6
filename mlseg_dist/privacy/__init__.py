"""What leaves a run folder names no patient (docs/privacy.md).

pseudonyms  names of slides and patients that pages show instead of the real ones
redaction   texts without real names, for W&B and reports
"""
