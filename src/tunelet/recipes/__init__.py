"""The recipes that the package ships, as YAML: `tunelet run emotion` finds them by name."""
