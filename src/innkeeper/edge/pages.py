"""The pages that visitors see when there is nothing else to show: plain, finished, and telling what to do."""

from __future__ import annotations

from typing import NamedTuple

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ --ground: #f6f5f1; --card: #fff; --ink: #22252a; --soft: #5d636b; --line: #dfdcd3; --mark: #9a5b1d; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ground: #16181b; --card: #1e2125; --ink: #eceae4; --soft: #a3a9b1; --line: #33373d; --mark: #e0a35c; }}
}}
* {{ box-sizing: border-box; }}
body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem;
  background: var(--ground); color: var(--ink); font: 1.05rem/1.6 system-ui, sans-serif; }}
main {{ width: 100%; max-width: 34rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 14px; padding: clamp(1.5rem, 5vw, 2.75rem); }}
.code {{ margin: 0; font-weight: 600; letter-spacing: .08em; color: var(--mark); }}
h1 {{ margin: .25rem 0 .75rem; font-size: clamp(1.4rem, 5vw, 1.9rem); line-height: 1.2; text-wrap: balance; }}
p {{ margin: 0 0 1rem; }}
h2 {{ margin: 1.5rem 0 .25rem; font-size: .95rem; }}
.owner {{ border-top: 1px solid var(--line); padding-top: .25rem; color: var(--soft); font-size: .95rem; }}
.owner p {{ margin: 0; }}
</style>
</head>
<body>
<main>
<p class="code">{code}</p>
<h1>{title}</h1>
<p>{text}</p>
<section class="owner">
<h2>If this is your site</h2>
<p>{owner}</p>
</section>
</main>
</body>
</html>
"""


class Page(NamedTuple):
    """One page: the status that it explains, to the visitor and to the site's owner."""

    code: int
    title: str
    text: str
    owner: str


PAGES = {
    "400": Page(
        400,
        "This request can’t be understood",
        "The address or a header of the request is malformed or far too long. Try the address without its last part, "
        "or delete this site’s cookies.",
        "Very large cookies are the usual cause: keep what you store in them small.",
    ),
    "401": Page(
        401,
        "This site asks for a password",
        "Its owner lets in those who have a name and a password for it. Reload the page to be asked again.",
        "The name and the password’s hash are in your site’s settings, under “password”.",
    ),
    "403": Page(
        403,
        "This file is not open to visitors",
        "The address leads to something that may not be shown. Go back, or start from the site’s front page.",
        "A file must be readable for all; a link must be relative and lead to a file of your own; a directory "
        "without an index.html shows nothing.",
    ),
    "404": Page(
        404,
        "There is nothing at this address",
        "The address may be mistyped, or the page has moved. Start from the site’s front page.",
        "Check the path of the static mapping, and that the file is there with just this spelling.",
    ),
    "405": Page(
        405,
        "This can’t be done at this address",
        "What was asked is of a kind that is not answered here; the address may be one that can only be read. "
        "Go back and try again.",
        "Where a static mapping is, files can be read, and your app is not asked: map a narrower prefix if it "
        "should be. TRACE and CONNECT are answered nowhere.",
    ),
    "413": Page(
        413,
        "This upload is too large",
        "What you sent is larger than this server accepts. Try a smaller file.",
        "The limit, max_body, is the whole server’s, and your site’s own can’t go beyond it. Ask the server’s "
        "operator, or upload in parts.",
    ),
    "failed": Page(
        500,
        "This site can’t start right now",
        "Something in the site itself keeps it from starting. Its owner has a report. Please try again later.",
        "The reason, with the traceback, is in your error log and on the site’s overview. "
        "Once it is mended, touch the WSGI file or reload the site.",
    ),
    "500": Page(
        500,
        "Something went wrong on this server",
        "The server, and not the site, has failed at this request. Please try again later.",
        "Your app has no part in this. If it goes on, tell the server’s operator, whose log has the reason.",
    ),
    "501": Page(
        501,
        "This server can’t do what was asked",
        "The request is sent in a way that this server does not know. Try another program, or its newest version.",
        "Your app was not asked. Bodies may come with their length, or in chunks, and in no other encoding of "
        "transfer.",
    ),
    "502": Page(
        502,
        "The site gave no answer",
        "The site broke off before it had answered, or its answer can’t be passed on. Trying again often helps; "
        "if you sent a form, check first whether it was received.",
        "A process of your app ended or hung up, which the end of your error log usually explains, or its answer "
        "began with more than 32 KB of headers, or with something that is no HTTP.",
    ),
    "504": Page(
        504,
        "The site took too long",
        "The site did not answer within its time limit. Please try again in a while.",
        "The request ran past the limit. Your error log has what the app was doing at that moment.",
    ),
    "505": Page(
        505,
        "This version of HTTP is not spoken here",
        "The request names a version of HTTP that this server does not know. Try another program.",
        "Your app was not asked. Requests are answered in HTTP/1.1 and 1.0.",
    ),
    "busy": Page(
        503,
        "Too busy at the moment",
        "More visitors came at once than can be served. Please try again in a few seconds.",
        "The server is starting many sites at once, or your site has as many connections open as it may. "
        "Both pass by themselves.",
    ),
    "off": Page(
        503,
        "This site is switched off",
        "Its owner has switched it off for now. Please come back later.",
        "Switch it on again, and it answers at once.",
    ),
    "no-site": Page(
        404,
        "There is no site at this address",
        "This server has no site by this name. The address may be mistyped, or the site has moved away.",
        "Add this name to your site as its domain or an alias. A new site is there at once.",
    ),
}


def render_all() -> dict[str, str]:
    """The HTML of each page by the name that nginx's configuration uses."""
    return {name: _PAGE.format(**page._asdict()) for name, page in PAGES.items()}
