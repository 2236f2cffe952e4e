"""Second-pass scorers: texts in lists of hypotheses to log probabilities. Each scorer is a module of its own."""
