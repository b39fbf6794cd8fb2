"""What Yaoki's services and the applications they protect share."""
