"""Serve the page on 127.0.0.1 until Ctrl-C."""

from __future__ import annotations

import socket

import uvicorn
from starlette.applications import Starlette

from sdcl.runtime.errors import SettingError

ADDRESS = "127.0.0.1"  # never another: what the page shows is this machine's
PATIENCE = 2  # seconds that Ctrl-C waits for answers under way, such as half an upload


def serve(app: Starlette, port: int) -> None:
    """Print the address and answer until Ctrl-C.

    Args:
        port: 0 takes a free one.

    Raises:
        SettingError: the port is taken.
    """
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((ADDRESS, port))
    except OSError as error:
        listener.close()
        raise SettingError(f"--port {port} cannot be used: {error.strerror}; choose another") from None
    listener.listen()  # whoever reads the address may use it at once
    port = listener.getsockname()[1]
    address = f"http://{ADDRESS}:{port}/?token={app.state.token}"
    print(f"open {address}\nCtrl-C ends it; on a remote machine: ssh -L {port}:{ADDRESS}:{port}", flush=True)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=PATIENCE,
    )
    try:
        uvicorn.Server(config).run([listener])
    except KeyboardInterrupt:
        pass
    finally:
        listener.close()
