"""The command line: one module per verb; `output` prints everything, `main` composes the verbs."""
