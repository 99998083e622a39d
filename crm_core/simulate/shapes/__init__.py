"""The same drawn world in the exact shape of each source that has a preset: headings, order, encodings, quirks, dirt."""

from crm_core.simulate.shapes import chinese, events, public, western
from crm_core.simulate.shapes.frames import frames
from crm_core.simulate.shapes.shape import FileShape, ShapeFiles

SHAPES: dict[str, tuple[FileShape, ...]] = {
    "taobao": chinese.TAOBAO,
    "jd": chinese.JD,
    "youzan": chinese.YOUZAN,
    "shopify": western.SHOPIFY,
    "woocommerce": western.WOOCOMMERCE,
    "online_retail": public.ONLINE_RETAIL,
    "complete_journey": public.COMPLETE_JOURNEY,
    "user_behavior": public.USER_BEHAVIOR,
    "wukong": chinese.WUKONG,
    "message_receipts": events.MESSAGES,
    "loyalty_ledger": events.LOYALTY,
    "service_tickets": events.TICKETS,
    "consents": events.CONSENT,
    "web_events": events.WEB,
}
"""Shape → its files; the shape `sample` is written by the generator itself."""

__all__ = ["SHAPES", "FileShape", "ShapeFiles", "frames"]
