"""HTTP/2 under uvicorn: its own protocols on ``zttp``, chosen as it chooses them, and telling.

In a file of its own because it needs ``zttp``; ``secure_asgi.servers.uvicorn:HTTP2Protocol`` is its public name.
"""

from uvicorn.protocols.http.auto_zttp_impl import AutoZttpProtocol
from uvicorn.protocols.http.zttp_h2_impl import ZttpH2Protocol
from uvicorn.protocols.http.zttp_impl import ZttpProtocol

from ..errors import ConfigurationError
from .uvicorn import telling

if not hasattr(AutoZttpProtocol, "_switch"):
    # Serving on would tell applications nothing. That is refused request by request, and seen only then.
    raise ConfigurationError(
        "this version of uvicorn hands HTTP/2 connections over in a way that HTTP2Protocol does not know: "
        "pip install 'uvicorn>=0.54,<0.55'"
    )


class HTTP2Protocol(AutoZttpProtocol):
    """HTTP/2 where client and context agree on it (ALPN ``h2``, or prior knowledge in clear), else HTTP/1.1.

    Instead of uvicorn's ``http="zttp", http2=True``. A context of one's own must offer it:
    ``context.set_alpn_protocols(["h2", "http/1.1"])``.
    """

    def _switch(self, http2: bool, initial_data: bytes = b"") -> None:
        protocol = telling(ZttpH2Protocol if http2 else ZttpProtocol)(
            config=self.config, server_state=self.server_state, app_state=self.app_state, _loop=self.loop
        )
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        if initial_data:
            protocol.data_received(initial_data)
