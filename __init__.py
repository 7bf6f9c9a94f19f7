"""Investigate what language models did: logs in, evidence out. Subpackages: cli, ingest, analysis, store."""

__version__ = "0.1.0"
