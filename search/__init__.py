"""Choosing while sampling."""
