"""Episodes taken back into the model that wrote them: tokens, activations, probes, interventions."""
