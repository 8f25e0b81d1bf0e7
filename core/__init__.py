"""What every room stands on: errors, texts, settings, files, memory. Imports nothing of ours."""
