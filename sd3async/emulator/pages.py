"""What other machines on the way say: proxies in HTML, resellers in JSON of their own."""

from typing import Any

from sd3async.emulator.answers import CLOUDFLARE, phrase
from sd3async.emulator.faults import Gateway

__all__ = ["gateway_error", "proxy_page"]


def proxy_page(code: int) -> bytes:
    """Return the HTML page of a reverse proxy for a status."""
    title = f"{code} {phrase(code)}"
    proxy = "cloudflare" if code in CLOUDFLARE else "nginx"
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n"
        f"<center><h1>{title}</h1></center>\r\n<hr><center>{proxy}</center>\r\n"
        "</body>\r\n</html>\r\n"
    ).encode()


def gateway_error(gateway: Gateway, request_id: str) -> dict[str, Any]:
    """Return the JSON with which a reseller reports an error of its own."""
    match gateway:
        case "new-api":
            message = f"no available channel (request id: {request_id})"
            return {"error": {"message": message, "type": "new_api_error", "code": ""}}
        case "one-api":
            message = f"no available channel (request id: {request_id})"
            return {"error": {"message": message, "type": "one_api_error"}}
        case "v-api":
            return {
                "error": {
                    "message": f"user quota is not enough (request id: {request_id})",
                    "type": "v_api_error",
                    "param": "",
                    "code": "insufficient_user_quota",
                }
            }
        case "302.ai":
            return {"error": {"err_code": -10008, "message": "No available channels currently"}}
