"""One file per kind of probe; the file's name is the kind's name on the command line."""
