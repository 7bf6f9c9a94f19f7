"""Questions asked of the text alone: encoders, search, clusters. Knows no model weights but the encoder's."""
