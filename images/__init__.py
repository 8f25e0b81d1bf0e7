"""Images and their prompts: files, tensors, folders. Imports only `core`."""
