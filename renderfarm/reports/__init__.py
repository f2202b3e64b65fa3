"""What a job leaves for people to look at: the contact sheet and the report."""
