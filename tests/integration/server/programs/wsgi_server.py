"""waitress with the gate as its application, on a free port that it prints; ends when its standard input does."""

import sys
import threading

import waitress

from torchgate.wsgi import application

server = waitress.create_server(application, host="127.0.0.1", port=0, threads=4)
threading.Thread(target=server.run, daemon=True).start()
print(server.effective_port, flush=True)
sys.stdin.read()
