"""What the network is fed: the prepared data, augmentation, and the order of the samples."""
