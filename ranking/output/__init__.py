"""What a ranking becomes: a sheet, an HTML page, files in a folder."""
