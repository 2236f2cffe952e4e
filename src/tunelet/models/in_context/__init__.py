"""Prompts answered by causal language models, with text or with speech in them: exact, batched, prefixes run once."""
