"""Questions asked of stored episodes: of their text, and of the model that wrote them."""
