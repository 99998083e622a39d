"""The closed vocabularies: the only words that coded columns may hold. A source maps its own words to these."""

from __future__ import annotations

EVENTS: dict[str, tuple[str, ...]] = {
    "journey": ("visit", "register", "login", "browse", "search", "favourite", "consult", "cart_add"),
    "engagement": (
        "check_in", "share", "referral", "game", "points_earned", "points_spent", "points_expired", "coupon_issued",
        "coupon_redeemed", "coupon_expired", "tier_changed", "benefit_used",
    ),
    "service": (
        "complaint", "suggestion", "praise", "question", "return_request", "follow_up", "call", "care", "case_closed",
    ),
    "messaging": ("sent", "delivered", "failed", "opened", "clicked", "replied", "unsubscribed"),
}  # fmt: skip
EVENT: tuple[str, ...] = tuple(word for family in EVENTS.values() for word in family)

CHANNELS: dict[str, tuple[str, ...]] = {
    "sales": (
        "store", "factory", "distributor", "b2c", "tmall", "taobao", "jd", "yhd", "douyin", "youzan", "shopify",
    ),
    "assist": ("sms", "email", "call_center", "website", "experience_zone", "app"),
    "social": ("wechat", "wecom", "weibo", "qq", "forum"),
}  # fmt: skip
CHANNEL: tuple[str, ...] = tuple(word for family in CHANNELS.values() for word in family)

GENDER = ("female", "male", "other")
MEMBER_STATUS = ("active", "frozen", "closed")
ORDER_STATUS = ("placed", "paid", "approved", "shipped", "delivered", "confirmed", "reviewed", "closed")
CONFIRMED_BY = ("member", "auto")
REFUND_KIND = ("refund", "cancellation", "adjustment")
CONSENT_STATE = ("granted", "denied", "revoked")
ID_KIND = ("phone", "email", "union_id", "platform_account", "member_card")
STAGE = ("lead", "contacted", "qualified", "proposal", "negotiation", "won", "lost")
OUTCOME = ("won", "lost")
AUDIENCE_STATUS = ("selected", "held_out", "rejected")
