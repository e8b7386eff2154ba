"""Feed the network: the order of the samples, and their augmentation."""
