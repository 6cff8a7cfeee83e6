"""What a campaign will take, from what exists and what was measured.

amounts  pairs and bytes, counted or estimated       styling  how much gan_style makes
rates    how fast phases went, RUN/rates.json        costs    wall time, GPU-hours and bytes of each phase
"""
