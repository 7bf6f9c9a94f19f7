"""From log files to episodes: detection, one reader per log format, and the runner that stores what they read."""
