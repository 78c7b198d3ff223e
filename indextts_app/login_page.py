"""The page on which people log in: one form, no script, nothing from anywhere else."""

from __future__ import annotations

from html import escape
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from indextts_app import errors
from indextts_app.sessions import SESSION_SECONDS

MAX_LOGIN_BYTES: Final = 4_096


def login_page(
    title: str, *, more: str = "", told: str = "", fields: str = "", language: str, status: int
) -> Response:
    """
    Args:
        title: of the page, text.
        more: what it is for, text.
        told: what went wrong the last time, text.
        fields: the labels, inputs and the button of the form, HTML; without, there is no form.
        language: `zh` or `en`.
        status: of the answer.
    """
    form = f'<form method="post" action="login">{fields}</form>' if fields else ""
    alert = f'<p role="alert">{escape(told)}</p>' if told else ""
    explained = f"<p>{escape(more)}</p>" if more else ""
    text = (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{escape(title)}</h1>{explained}{alert}{form}</main></body></html>"
    )
    return HTMLResponse(
        text,
        status,
        headers={
            "Cache-Control": "no-store",
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
            "form-action 'self'; frame-ancestors 'none'",
        },
    )


async def sent(request: Request, *names: str) -> tuple[str, ...]:
    """
    The fields of a login form; one that is absent is empty.

    Raises:
        errors.TooLarge: it has more bytes than any form of ours.
        errors.ClientGone: it did not come to its end.
    """
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_LOGIN_BYTES:
                raise errors.TooLarge(limit_mb=f"{MAX_LOGIN_BYTES / 1e6:g}")
    except ClientDisconnect:
        raise errors.ClientGone from None
    try:
        fields = parse_qs(
            body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=10
        )
    except ValueError:
        fields = {}
    return tuple(fields.get(name, [""])[0] for name in names)


def let_in(request: Request, cookie: str, token: str) -> Response:
    """Back to the page, with the token of a new session."""
    answer = RedirectResponse("./", 303)
    answer.set_cookie(
        cookie,
        token,
        max_age=int(SESSION_SECONDS),
        # The page may be served below another path, which this process does not know.
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return answer


def let_out(cookie: str) -> Response:
    """Back to the page, without the token."""
    answer = RedirectResponse("./", 303)
    answer.delete_cookie(cookie, path="/")
    return answer


STYLE: Final = """
:root { color-scheme: light dark; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center;
  font: 1rem/1.5 system-ui, "PingFang SC", "Microsoft YaHei", "WenQuanYi Micro Hei", sans-serif;
  background: light-dark(#f8fafc, #0b0f19); color: light-dark(#1f2937, #f1f5f9); }
main { width: min(22rem, calc(100vw - 3rem)); padding: 1.5rem; border-radius: .625rem;
  background: light-dark(#fff, #1f2937); border: 1px solid light-dark(#e2e8f0, #374151); }
h1 { margin: 0 0 .5rem; font-size: 1.25rem; }
p { margin: 0 0 1rem; font-size: .875rem; color: light-dark(#64748b, #94a3b8); }
p[role=alert] { color: light-dark(#c8372d, #f87171); }
form { display: grid; gap: .75rem; }
label { display: grid; gap: .25rem; font-size: .875rem; }
input, button { font: inherit; padding: .5rem .75rem; border-radius: .375rem;
  border: 1px solid light-dark(#cbd5e1, #4b5563); }
button { border: 0; background: #2563eb; color: #fff; font-weight: 600; cursor: pointer; }
"""
