"""What evaluation shares: the protocols, prediction with a trained network, and the scores."""
