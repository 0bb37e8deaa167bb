"""``dfanerf-live --web``: a page that sends its microphone and sees the avatar speak. Needs aiohttp and aiortc."""
