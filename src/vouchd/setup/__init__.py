"""Setting an instance up: one model of answers, the panels of the wizard that ask for them, and their carrying out."""
