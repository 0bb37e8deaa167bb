"""The avatar over a WebSocket: websocket_server.py [AVATAR] [PORT]

Send binary messages: 16 kHz mono int16 PCM; send the text "clear" to interrupt. Each 40 ms come back as one message of
1,280 bytes of PCM and a JPEG. Needs aiohttp (pip install 'dfanerf-rt[web]').
"""

import asyncio
import io
import sys

import numpy as np
from aiohttp import WSMsgType, web
from PIL import Image

from dfanerf_rt.live.session import LiveSession


async def speak(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(max_msg_size=1 << 20)
    await socket.prepare(request)
    async with await LiveSession.open(sys.argv[1] if len(sys.argv) > 1 else "presenter") as session:

        async def listen() -> None:
            async for message in socket:
                if message.type == WSMsgType.BINARY:
                    await session.push_audio(np.frombuffer(message.data, "<i2"))
                elif message.data == "clear":
                    session.clear_buffer()

        listener = asyncio.create_task(listen())
        async for moment in session:
            if listener.done():
                break
            jpeg = io.BytesIO()
            Image.fromarray(moment.frame).save(jpeg, "jpeg")
            await socket.send_bytes((moment.sound * 32767).astype("<i2").tobytes() + jpeg.getvalue())
    return socket


if __name__ == "__main__":
    app = web.Application()
    app.add_routes([web.get("/", speak)])
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]) if len(sys.argv) > 2 else 8765)
