"""What the Azure pool adds to the node program; standard library only."""
