"""
What a path answers to: HEAD wherever GET is, and 405 with `Allow` where it is another method.

The page is mounted at `/` and takes whatever no route before it does, so that a path of the API
with a wrong method would be an unknown page. Monitors ask with HEAD.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from indextts_app import errors
from indextts_app.error_body import error_response

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def close(app: FastAPI, routes: Iterable[BaseRoute]) -> None:
    """
    Answer every other method of these routes' paths.

    Call it when all of them are there, and before a page is mounted.
    """
    of_path: dict[str, set[str]] = defaultdict(set)
    for route in routes:
        if isinstance(route, APIRoute) and route.methods:
            of_path[route.path] |= route.methods
            if "GET" in route.methods:
                # The server sends no body in answer to HEAD.
                app.add_api_route(
                    route.path,
                    route.endpoint,
                    methods=["HEAD"],
                    response_class=route.response_class,
                    response_model=None,
                    include_in_schema=False,
                )
                of_path[route.path].add("HEAD")
    for path, methods in of_path.items():
        app.add_route(
            path, _refusal(methods), methods=sorted(METHODS - methods), include_in_schema=False
        )


def _refusal(methods: set[str]) -> Callable[[Request], Awaitable[Response]]:
    allow = ", ".join(sorted(methods))

    async def refuse(request: Request) -> Response:
        refused = errors.MethodNotAllowed(allow=allow)
        answer = error_response(request.headers, refused, request.scope["path"])
        answer.headers["Allow"] = allow
        return answer

    return refuse
