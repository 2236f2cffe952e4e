"""What is trained: full fine-tuning, PEFT's methods, the table of what trains, the adapter folder."""
