"""One file per search mode; the file's name is the mode's name on the command line."""
