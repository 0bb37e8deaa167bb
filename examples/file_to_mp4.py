"""A sound file becomes an MP4 of the avatar that speaks it: file_to_mp4.py SOUND MP4 [AVATAR]"""

import asyncio
import sys

from dfanerf_rt.audio.sources import load_audio
from dfanerf_rt.live.mp4 import Mp4Writer
from dfanerf_rt.live.session import LiveSession


async def main(sound: str, out: str, avatar: str = "presenter") -> None:
    async with await LiveSession.open(avatar, realtime=False, buffer_s=3600, mark=False) as session:
        await session.push_audio(load_audio(sound))
        session.finish()
        with Mp4Writer(out, session.width, session.height) as file:
            async for moment in session:
                file.write_frame(moment.frame)
                file.write_audio(moment.sound)
    print(f"{out}: {file.frames} frames")


asyncio.run(main(*sys.argv[1:]))
