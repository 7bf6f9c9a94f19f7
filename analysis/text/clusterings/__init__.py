"""One file per algorithm that clusters; the file's name is its name on the command line, with hyphens."""
