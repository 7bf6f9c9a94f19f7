"""Everything that touches disk: the workspace, its Parquet shards, its catalog, and questions asked of them."""
