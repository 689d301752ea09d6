"""Small programs for who works on the project."""
