"""Side by side against what users would pick instead. Each benchmark is a module with a command; see README.md."""
