"""What every room stands on, and no model: errors, texts, settings, files, memory. Imports nothing of ours."""
