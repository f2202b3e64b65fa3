"""Takes secrets out of text before anybody sees it."""

from __future__ import annotations

import re

HIDDEN = "***"
_SECRETS = (
    re.compile(r"(?i)((?:\b|%(?:25)*(?:3F|26)|\\u00(?:26|3f))sig(?:=|%(?:25)*3D|\\u003d))[^&\s\"'<>\\]+"),
    re.compile(r"(?i)(\b(?:AccountKey|SharedAccessKey|SharedAccessSignature)=)[^;\s\"'<>\\]+"),
    re.compile(r"(?i)([\"'](?:access_token|accountKey)[\"']\s*:\s*[\"'])[^\"']+"),
    re.compile(r"(\bSharedKey(?:Lite)? [^\s:]+:)[A-Za-z0-9+/=]+"),
    re.compile(r"(?i)(\bBearer )[A-Za-z0-9._~+/=-]{8,}"),
)


def redact(text: str) -> str:
    """The text without signatures, account keys and tokens."""
    for secret in _SECRETS:
        text = secret.sub(rf"\g<1>{HIDDEN}", text)
    return text
