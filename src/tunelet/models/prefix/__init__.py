"""An encoder that reads a whole prompt in both directions and answers in a slot by pointing at class names."""
