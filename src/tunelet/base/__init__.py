"""What every layer stands on: errors, registry, files that survive a crash, random streams, recipes as text."""
