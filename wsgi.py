"""The ready application, for servers that want a name: ``gunicorn extrapypi.wsgi:app``."""

from extrapypi.app import create_app

app = create_app()
