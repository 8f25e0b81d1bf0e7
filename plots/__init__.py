"""Charts and pages: the one place that knows colours, axes and panels. Imports only `core`."""
