"""The kinds of phases: what each depends on, what it publishes and which functions do its work."""
