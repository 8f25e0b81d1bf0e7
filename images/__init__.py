"""Files, tensors and folders of images, and the prompts in them. Imports only `core`."""
