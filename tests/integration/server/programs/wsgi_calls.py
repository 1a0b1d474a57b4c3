"""A few calls of the gate's WSGI application in one process, which then ends; it prints the statuses."""

import sys

from tests.rigs.wsgi_call import called, environ

from torchgate.wsgi import application

key = sys.argv[1]
print(*(called(application, environ("/whoami", HTTP_X_API_KEY=key)).status for _ in range(3)))
