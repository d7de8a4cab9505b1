"""The page over HTTP, for this machine alone.

Every request must carry the token that the program printed (a cookie after the first), must name this
machine in `Host` (so that no other site's name can lead here), and, where it changes or computes something,
must come from this page (`Origin`). Paths never appear in addresses: images have numbers. Bodies are read
into memory up to a limit. The content security policy allows the page its own files and nothing else.
"""

from __future__ import annotations

import hmac
import io
import json
import math
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import sdcl
from sdcl.app.run_walk import RunWalk
from sdcl.app.workspace import MOST_LISTED, PREVIEW, THUMBNAIL, Workspace
from sdcl.config.supervision import cautions
from sdcl.runtime.errors import UserError

HERE = Path(__file__).parent
LOCAL = ("127.0.0.1", "localhost", "::1")
LONGEST_ADDRESS = 1000  # characters; longer numbers are none that Python reads
MOST_BYTES = 20 * 2**20  # of an uploaded image
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}


class _Json(JSONResponse):
    """JSON in ASCII, so that names of any bytes can be sent; numbers that are not finite become null."""

    def render(self, content: Any) -> bytes:
        return json.dumps(_plain(content), allow_nan=False, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class TooLarge(Exception):
    """An upload above the limit."""


def create_app(workspace: Workspace, run: RunWalk | None = None, token: str | None = None) -> Starlette:
    """The application.

    Args:
        run: of the second tab; None: no such tab. token: that requests must carry; None: a new one, in
            `app.state.token`.
    """
    app = Starlette(
        routes=[
            Route("/", _page),
            Mount("/static", StaticFiles(directory=HERE / "static")),
            Route("/api/galleries", _galleries, methods=["GET", "POST"]),
            Route("/api/galleries/{number:int}", _gallery, methods=["POST", "DELETE"]),
            Route("/api/galleries/{number:int}/images/{row:int}", _gallery_image),
            Route("/api/galleries/{number:int}/attention/{row:int}", _gallery_attention, methods=["POST"]),
            Route("/api/folders", _folders),
            Route("/api/queries", _queries),
            Route("/api/queries/{row:int}", _query_image),
            Route("/api/search", _search, methods=["POST"]),
            Route("/api/attention", _attention, methods=["POST"]),
            Route("/api/costs", _costs),
            Route("/api/run", _run),
            Route("/api/run/clusters", _run_clusters),
            Route("/api/run/links", _run_links),
            Route("/api/run/neighbours", _run_neighbours, methods=["POST"]),
            Route("/api/run/images/{modality}/{row:int}", _run_image),
        ],
        exception_handlers={
            UserError: _refused,
            TooLarge: _too_large,
            Exception: _broken,
        },
    )
    app.state.workspace, app.state.run = workspace, run
    app.state.token = token or secrets.token_urlsafe(24)
    app.add_middleware(_Guard, token=app.state.token)
    return app


class _Guard:
    """Checks of every request, and headers of every response (ASGI middleware)."""

    def __init__(self, app: Any, token: str):
        self.app, self.token = app, token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                extra = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        response = self.answer(Request(scope))
        await (response or self.app)(scope, receive, send_with_headers)

    def answer(self, request: Request) -> Response | None:
        """A refusal or a redirection; None: the request may pass."""
        if len(request.url.path) > LONGEST_ADDRESS:
            return PlainTextResponse("there is no such address", 404)
        host = request.headers.get("host", "")
        name, port = _host(host)
        if name not in LOCAL:
            return PlainTextResponse("this page answers on this machine only, as 127.0.0.1 or localhost", 400)
        origin = request.headers.get("origin")
        if request.method not in ("GET", "HEAD") and origin != f"http://{host}":
            return PlainTextResponse("the request does not come from this page", 403)
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return PlainTextResponse("the request does not come from this page", 403)
        cookie = f"sdcl-{port}"
        if self._same(request.cookies.get(cookie, "")):
            return None
        if self._same(request.query_params.get("token", "")):
            response = RedirectResponse("/", 303)
            response.set_cookie(cookie, self.token, httponly=True, samesite="strict")
            return response
        return PlainTextResponse("open the address that `sdcl app` printed; it carries a token", 403)

    def _same(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())


def _host(header: str) -> tuple[str | None, int]:
    """Name and port of a Host header; (None, 0) of one that is none."""
    try:
        address = urlsplit(f"//{header}")
        return address.hostname, address.port or 80
    except ValueError:
        return None, 0


# ------------------------------------------------------------------ the page


async def _page(request: Request) -> Response:
    workspace: Workspace = request.app.state.workspace
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined
    )
    trained, run = workspace.trained, workspace.trained.settings.run
    text = environment.get_template("app.html").render(
        version=sdcl.__version__,
        weights=trained.fingerprint,
        network=trained.settings.model.arch,
        method=", ".join([run.method, *cautions(run.method, run.labels)]),
        trained_on=trained.settings.data.dataset,
        synthetic=trained.provenance.synthetic,
        queries=len(workspace.query_paths),
        run=request.app.state.run is not None,
        megabytes=MOST_BYTES // 2**20,
    )
    return HTMLResponse(text)


# ------------------------------------------------------------------ galleries


async def _galleries(request: Request) -> Response:
    workspace: Workspace = request.app.state.workspace
    if request.method == "POST":
        given = await _json(request)
        path, modality = str(given.get("path", "")).strip(), str(given.get("modality", ""))
        if not path:
            raise UserError("name a folder of images, or a file of `sdcl embed`")
        await run_in_threadpool(workspace.add, path, modality)
    return _Json({"galleries": [g.facts() for g in list(workspace.galleries.values())]})


async def _gallery(request: Request) -> Response:
    workspace: Workspace = request.app.state.workspace
    number = request.path_params["number"]
    await run_in_threadpool(workspace.renew if request.method == "POST" else workspace.remove, number)
    return _Json({"galleries": [g.facts() for g in list(workspace.galleries.values())]})


async def _folders(request: Request) -> Response:
    workspace: Workspace = request.app.state.workspace
    return _Json({"folders": await run_in_threadpool(workspace.folders.suggestions)})


async def _gallery_image(request: Request) -> Response:
    number, row = request.path_params["number"], request.path_params["row"]
    return await _jpeg(lambda: request.app.state.workspace.gallery_image(number, row))


async def _queries(request: Request) -> Response:
    return _Json(request.app.state.workspace.query_list(_whole(request, "page", 0)))


async def _query_image(request: Request) -> Response:
    return await _jpeg(lambda: request.app.state.workspace.query_image(request.path_params["row"])[0])


# ------------------------------------------------------------------ search


async def _search(request: Request) -> Response:
    workspace: Workspace = request.app.state.workspace
    image, name = await _image(request)
    modality = request.query_params.get("modality", "")
    top = min(_whole(request, "top", 50), MOST_LISTED)
    rerank = request.query_params.get("rerank") == "true"
    numbers = _numbers(request)

    def work() -> dict[str, Any]:
        return workspace.search(image, name, modality, numbers, top=top, rerank=rerank)

    return _Json(await run_in_threadpool(work))


async def _attention(request: Request) -> Response:
    image, _ = await _image(request)
    modality = request.query_params.get("modality", "")
    maps = await run_in_threadpool(request.app.state.workspace.attention, image, modality)
    return _Json({"maps": maps})


async def _gallery_attention(request: Request) -> Response:
    workspace: Workspace = request.app.state.workspace
    number, row = request.path_params["number"], request.path_params["row"]

    def work() -> list[dict[str, str]]:
        image = workspace.gallery_image(number, row)
        return workspace.attention(image, workspace.galleries[number].modality)

    return _Json({"maps": await run_in_threadpool(work)})


async def _costs(request: Request) -> Response:
    numbers = _numbers(request)
    return _Json(await run_in_threadpool(request.app.state.workspace.costs, numbers))


# ------------------------------------------------------------------ the run


async def _run(request: Request) -> Response:
    return _Json(await run_in_threadpool(_walk(request).overview))


async def _run_clusters(request: Request) -> Response:
    walk, name = _walk(request), request.query_params.get("set", "")
    epoch, page = _whole(request, "epoch", 0), _whole(request, "page", 0)
    return _Json(await run_in_threadpool(walk.clusters, epoch, name, page))


async def _run_links(request: Request) -> Response:
    epoch, page = _whole(request, "epoch", 0), _whole(request, "page", 0)
    return _Json(await run_in_threadpool(_walk(request).links, epoch, page))


async def _run_neighbours(request: Request) -> Response:
    modality, row = request.query_params.get("modality", ""), _whole(request, "row", 0)
    return _Json(await run_in_threadpool(_walk(request).neighbours, modality, row))


async def _run_image(request: Request) -> Response:
    walk = _walk(request)
    return await _jpeg(lambda: walk.image(request.path_params["modality"], request.path_params["row"]))


def _walk(request: Request) -> RunWalk:
    walk = request.app.state.run
    if walk is None:
        raise UserError("no run was given; start with --run RUN")
    return walk


# ------------------------------------------------------------------ reading requests, writing images


async def _image(request: Request) -> tuple[Image.Image, str]:
    """The query: an image of the query folder, or the uploaded bytes."""
    workspace: Workspace = request.app.state.workspace
    if "query" in request.query_params:
        return await run_in_threadpool(workspace.query_image, _whole(request, "query", 0))
    content = await _body(request)
    if not content:
        raise UserError("choose an image first")
    name = Path(unquote(request.headers.get("x-file-name", ""))).name
    return await run_in_threadpool(workspace.upload, content, name), name or "the image"


async def _body(request: Request) -> bytes:
    """The request's bytes, in memory. Raises TooLarge."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            raise TooLarge
        parts.append(part)
    return b"".join(parts)


async def _json(request: Request) -> dict[str, Any]:
    """The object of a JSON body. Raises UserError."""
    try:
        value = json.loads(await _body(request))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise UserError("the request is no JSON object")
    return value


def _whole(request: Request, name: str, default: int) -> int:
    """A whole number of the address. Raises UserError."""
    given = request.query_params.get(name, str(default))
    if not (given.isascii() and given.isdigit() and len(given) < 10):
        raise UserError(f"{name} must be a whole number")
    return int(given)


def _numbers(request: Request) -> list[int]:
    """The galleries that the address names. Raises UserError."""
    given = [n for n in request.query_params.get("galleries", "").split(",") if n]
    if not all(n.isascii() and n.isdigit() and len(n) < 10 for n in given):
        raise UserError("galleries must be whole numbers")
    return [int(n) for n in given]


async def _jpeg(read: Callable[[], Image.Image]) -> Response:
    """A thumbnail made anew from the decoded pixels: no byte of the file reaches the browser."""

    def encode() -> bytes:
        image = read()
        image.thumbnail((PREVIEW, THUMBNAIL))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=85)
        return buffer.getvalue()

    return Response(await run_in_threadpool(encode), media_type="image/jpeg")


async def _refused(request: Request, error: Exception) -> Response:
    return _Json({"error": str(error)}, 400)


async def _too_large(request: Request, error: Exception) -> Response:
    return _Json({"error": f"the image has more than {MOST_BYTES // 2**20} MB"}, 413)


async def _broken(request: Request, error: Exception) -> Response:
    return _Json({"error": "the program failed at this; its console has the reason"}, 500)
