"""Identity tokens, of whichever kind of credentials.

    credentials, audience ──identity_token──► token, or None

Source: google-auth's documentation, "Identity tokens"; Cloud Run documentation, "Authenticate developers"
(the token of somebody who logged in is taken whatever its audience).
"""

from __future__ import annotations

from typing import Any


def identity_token(credentials: Any, request: Any, audience: str) -> str | None:
    """Return an identity token of credentials for an audience; None where they can have none."""
    import google.auth.exceptions as auth
    import google.oauth2.id_token as id_tokens

    signer = getattr(credentials, "signer", None)
    try:
        if signer is not None:  # a service account with its key
            from google.oauth2.service_account import IDTokenCredentials

            made: Any = IDTokenCredentials(  # type: ignore[no-untyped-call]
                signer,
                credentials.service_account_email,
                credentials._token_uri,
                target_audience=audience,
            )
            made.refresh(request)
            return str(made.token)
        if hasattr(credentials, "id_token"):  # somebody who logged in
            if credentials.id_token is None:
                credentials.refresh(request)
            return None if credentials.id_token is None else str(credentials.id_token)
        found = id_tokens.fetch_id_token(request, audience)  # type: ignore[no-untyped-call]
        return None if found is None else str(found)
    except auth.GoogleAuthError:
        return None
