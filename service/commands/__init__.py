"""The subcommands of `ngpu`, a module a noun. Heavy imports happen inside the commands."""
