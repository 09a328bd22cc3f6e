"""The dashboard: pages for people, live by server-sent events, readable without JavaScript.

Templates are rendered on the server and escape every value; style and script come from here and nowhere else.
"""
