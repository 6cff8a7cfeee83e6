"""The command line's groups: each module adds its subcommands to the parser and runs them."""
