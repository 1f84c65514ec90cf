"""extrapypi under gunicorn: ``gunicorn --config gunicorn.conf.py extrapypi.wsgi:app``."""

bind = "127.0.0.1:8000"
workers = 2
worker_class = "gthread"
threads = 8
timeout = 600  # seconds
graceful_timeout = 30  # seconds that running requests get at a stop
keepalive = 75  # seconds: longer than the proxy keeps a connection that it does not use
