"""What the command predict needs: the images in and below folders."""
