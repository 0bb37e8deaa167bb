"""Who may talk to the server: hosts, origins, the token; and what browsers are told about what they got."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from dfanerf_rt.live.server.config import WebConfig

COOKIE = "dfanerf_token"
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
OPEN_PATHS = ("/health",)
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cache-Control": "no-store",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def refusal(status: int, reason: str) -> web.Response:
    """A refusal that says why, as JSON."""
    return web.json_response({"error": reason}, status=status)


def guard(config: WebConfig) -> Middleware:
    """The middleware that every request passes."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        refused = _refused(request, config)
        if refused is None and (given := request.query.get("token")) is not None and request.path == "/":
            response: web.StreamResponse = web.HTTPSeeOther("/")
            secure = config.certificate is not None
            response.set_cookie(COOKIE, given, httponly=True, samesite="Strict", secure=secure, path="/")
        elif refused is not None:
            response = refused
        else:
            try:
                response = await handler(request)
            except web.HTTPException as fault:
                response = refusal(fault.status, fault.text or fault.reason)
                response.headers.update({name: fault.headers[name] for name in ("Allow",) if name in fault.headers})
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return check


def _refused(request: web.Request, config: WebConfig) -> web.Response | None:
    # A page elsewhere whose name has been made to mean this machine comes with its own name.
    if config.is_local and _name(f"//{request.host}") not in LOCAL_NAMES:
        return refusal(403, f"this page is served to this machine alone, not as {request.host}")
    origin = request.headers.get("Origin")
    if origin is not None and request.method not in ("GET", "HEAD") and origin != f"{config.scheme}://{request.host}":
        return refusal(403, f"requests from pages of {origin} are refused")
    if config.token is None or request.path in OPEN_PATHS or _knows(request, config.token):
        return None
    return refusal(401, "the token is missing or wrong: open the page as /?token=TOKEN")


def _knows(request: web.Request, token: str) -> bool:
    header = request.headers.get("Authorization", "")
    given = [header.removeprefix("Bearer ") if header.startswith("Bearer ") else "", request.cookies.get(COOKIE, "")]
    if request.path == "/":
        given.append(request.query.get("token", ""))
    return any(hmac.compare_digest(each.encode(), token.encode()) for each in given)


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
