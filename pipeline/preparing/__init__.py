"""What the prepare stage needs: room on the disk, and a journal to go on by."""
