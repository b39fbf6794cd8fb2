"""A package index read with the standard library alone: find the wheel for this machine and download it.

Understands the Simple API as JSON (PEP 691) and as HTML (PEP 503), so that private mirrors work as PyPI does.
"""

from __future__ import annotations

import base64
import html
import json
import os
import platform
import re
import shutil
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from http.client import HTTPResponse

SECONDS = 60
ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.2"


class WheelNotFetchedError(Exception):
    """The index could not be read, or holds no wheel for this machine."""


def index_url() -> str:
    """Return the configured package index; pip's variable first, then uv's, then PyPI."""
    for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        if value := os.environ.get(name):
            return value.rstrip("/")
    return "https://pypi.org/simple"


def download_wheel(project: str, version: str, folder: Path) -> Path:
    """Download the wheel of this platform into the folder and return its path.

    Raises:
        WheelNotFetchedError: The index cannot be reached or has no wheel that fits.
    """
    page_url = f"{index_url()}/{project}/"
    try:
        with _open(page_url) as page:
            links = _links(page.read(), page.headers.get_content_type(), base=page_url)
        name = choose_wheel(sorted(links), f"{project}-{version}-")
        with _open(links[name]) as source, (folder / name).open("wb") as sink:
            shutil.copyfileobj(source, sink)
    except (urllib.error.URLError, TimeoutError, OSError, ValueError) as exc:
        raise WheelNotFetchedError(f"{_without_login(page_url)}: {exc}") from exc
    return folder / name


def choose_wheel(names: list[str], prefix: str) -> str:
    """Pick the wheel file whose platform tag this machine can run.

    Raises:
        WheelNotFetchedError: None of the names fits.
    """
    wheels = [name for name in names if name.startswith(prefix) and name.endswith(".whl")]
    for wheel in wheels:
        if any(_runs_here(tag) for tag in wheel.removesuffix(".whl").rsplit("-", 1)[-1].split(".")):
            return wheel
    found = ", ".join(wheels) or "no wheel of that version"
    raise WheelNotFetchedError(f"{prefix}*: nothing for {sys.platform} on {platform.machine()} (found: {found})")


def _runs_here(tag: str) -> bool:
    """Say whether a platform tag such as `manylinux_2_17_x86_64` or `macosx_11_0_arm64` fits this machine."""
    family, _, rest = tag.partition("_")
    major, _, rest = rest.partition("_")
    minor, _, machine = rest.partition("_")
    if machine != platform.machine() or not (major.isdigit() and minor.isdigit()):
        return False
    needed = (int(major), int(minor))
    if sys.platform == "darwin":
        return family == "macosx" and needed <= _version(platform.mac_ver()[0])
    libc, found = platform.libc_ver()
    if libc == "glibc":
        return family == "manylinux" and needed <= _version(found)
    return family == "musllinux"


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major or 0), int(minor.partition(".")[0] or 0)


def _open(url: str) -> HTTPResponse:
    """Open an http(s) address, with the login it may carry and the certificates that pip would use."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        raise ValueError(f"expected an http or https address, found scheme {parts.scheme!r}")
    request = urllib.request.Request(_without_login(url), headers={"Accept": ACCEPT})  # noqa: S310 - checked above
    if parts.username:
        login = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT"))
    response: HTTPResponse = urllib.request.urlopen(  # noqa: S310 - checked above
        request, timeout=SECONDS, context=context
    )
    return response


def _without_login(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _links(body: bytes, content_type: str, *, base: str) -> dict[str, str]:
    """Return file name -> absolute address from a project's page."""
    if content_type.endswith("json"):
        return {file["filename"]: urllib.parse.urljoin(base, file["url"]) for file in json.loads(body)["files"]}
    hrefs = (html.unescape(href) for href in re.findall(r'<a\s[^>]*href="([^"]+)"', body.decode("utf-8")))
    addresses = (urllib.parse.urljoin(base, href) for href in hrefs)
    return {urllib.parse.unquote(Path(urllib.parse.urlsplit(url).path).name): url for url in addresses}
