"""What the prepare stage needs: room on the disk, samples checked and decoded, journals."""
