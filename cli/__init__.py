"""The command line: one file per command. The only subpackage that draws on the screen."""
