"""The shop's own words: cities, names, occupations, channels, states, reasons – and the canonical word of
each.

Everything is invented or a common noun; names are made of frequent surnames and given names at random.
"""

from __future__ import annotations

import numpy as np

# (province, city, weight, typical days of carriage)
CITIES = (
    ("上海", "上海市", 9.0, 1.6), ("北京", "北京市", 8.0, 2.2), ("广东", "广州市", 7.0, 2.4),
    ("广东", "深圳市", 7.0, 2.4), ("浙江", "杭州市", 6.5, 1.5), ("江苏", "南京市", 5.0, 1.6),
    ("江苏", "苏州市", 5.0, 1.5), ("四川", "成都市", 6.0, 3.0), ("湖北", "武汉市", 4.5, 2.3),
    ("重庆", "重庆市", 4.5, 3.0), ("陕西", "西安市", 3.5, 3.0), ("天津", "天津市", 3.0, 2.3),
    ("山东", "青岛市", 3.0, 2.3), ("山东", "济南市", 2.5, 2.3), ("浙江", "宁波市", 3.0, 1.6),
    ("福建", "厦门市", 2.5, 2.4), ("福建", "福州市", 2.0, 2.4), ("湖南", "长沙市", 3.0, 2.5),
    ("河南", "郑州市", 3.0, 2.4), ("安徽", "合肥市", 2.5, 2.0), ("辽宁", "沈阳市", 2.0, 3.2),
    ("辽宁", "大连市", 1.8, 3.2), ("黑龙江", "哈尔滨市", 1.5, 3.8), ("吉林", "长春市", 1.2, 3.6),
    ("云南", "昆明市", 1.5, 3.6), ("广西", "南宁市", 1.3, 3.3), ("贵州", "贵阳市", 1.2, 3.4),
    ("江西", "南昌市", 1.5, 2.4), ("河北", "石家庄市", 1.8, 2.6), ("新疆", "乌鲁木齐市", 0.6, 6.0),
)  # fmt: skip
SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘蒋蔡余"
GIVEN = (
    "伟", "芳", "娜", "敏", "静", "丽", "强", "磊", "军", "洋", "勇", "艳", "杰", "娟", "涛", "明", "超",
    "霞", "平", "刚", "桂英", "建华", "秀兰", "文博", "子涵", "雨欣", "浩然", "梓萱", "思远", "佳怡",
    "俊杰", "晓东", "雪梅", "志强", "海燕", "小雨", "一诺", "嘉豪", "欣怡", "宇轩", "晨曦", "若曦", "天佑",
    "婉清", "景行", "知夏", "云舒", "牧之", "书瑶", "安然",
)  # fmt: skip
FULL_NAMES = np.array([surname + given for surname in SURNAMES for given in GIVEN])
OCCUPATIONS = ("公司职员", "教师", "医护人员", "自由职业", "学生", "工程师", "个体经营", "公务员", "退休", "全职妈妈")
INTERESTS = ("咖啡", "茶", "烘焙", "母婴", "露营", "健身", "宠物", "家居", "阅读", "护肤", "数码", "园艺")
TIERS = ("普通会员", "银卡会员", "金卡会员", "钻石会员")
TIER_THRESHOLDS = (80_000, 250_000, 700_000)

# the shop's word → the canonical word; the order is the code in arrays
CHANNELS = {
    "天猫旗舰店": "tmall", "京东旗舰店": "jd", "抖音小店": "douyin", "有赞商城": "youzan",
    "线下门店": "store", "品牌官网": "website", "APP": "app", "微信公众号": "wechat", "企业微信": "wecom",
    "短信": "sms", "邮件": "email", "客服电话": "call_center", "微博": "weibo",
}  # fmt: skip
CHANNEL_CODES = {word: code for code, word in enumerate(CHANNELS.values())}
SALES_CHANNELS = tuple(CHANNEL_CODES[word] for word in ("tmall", "jd", "douyin", "youzan", "store"))
SALES_WEIGHTS = (0.38, 0.17, 0.16, 0.17, 0.12)
SHOPS = ("TM01", "JD01", "DY01", "YZ01", "MD01")
STORE = SALES_CHANNELS[4]

STATUSES = {"正常": "active", "冻结": "frozen", "注销": "closed"}
GENDERS = {"女": "female", "男": "male", "保密": None}
CONFIRMERS = {"买家": "member", "系统": "auto"}
REFUND_KINDS = {"仅退款": "refund", "退货退款": "refund", "取消订单": "cancellation", "差价补偿": "adjustment"}
REFUND_REASONS = ("七天无理由", "质量问题", "少件漏发", "尺寸不合适", "物流太慢", "拍错多拍", "缺货", "价格保护")
PAYMENTS = ("支付宝", "微信支付", "银行卡", "花呗分期")
CONSENTS = {"同意": "granted", "拒绝": "denied", "撤回": "revoked"}
STAGES = {
    "线索": "lead", "已联系": "contacted", "已确认需求": "qualified", "方案报价": "proposal",
    "商务谈判": "negotiation", "赢单": "won", "输单": "lost",
}  # fmt: skip
OUTCOMES = {"赢单": "won", "输单": "lost"}
LOST_REASONS = ("价格过高", "选择竞品", "预算取消", "长期未回复")
OWNERS = tuple(f"YG{number:03d}" for number in range(1, 13))
TEAMS = ("华东组", "华南组", "北方组")
LEAD_SOURCES = ("官网表单", "展会", "老客户介绍", "电话开发", "企业微信")

EVENTS = {
    "访问": "visit", "注册": "register", "登录": "login", "浏览商品": "browse", "搜索": "search",
    "收藏": "favourite", "咨询客服": "consult", "加入购物车": "cart_add", "签到": "check_in",
    "分享": "share", "邀请好友": "referral", "互动游戏": "game", "积分获得": "points_earned",
    "积分消费": "points_spent", "积分过期": "points_expired", "发券": "coupon_issued",
    "用券": "coupon_redeemed", "券过期": "coupon_expired", "等级变更": "tier_changed",
    "权益使用": "benefit_used", "投诉": "complaint", "建议": "suggestion", "表扬": "praise",
    "提问": "question", "退货申请": "return_request", "跟进": "follow_up", "外呼": "call",
    "会员关怀": "care", "结案": "case_closed", "已提交": "sent", "发送成功": "delivered",
    "发送失败": "failed", "已打开": "opened", "已点击": "clicked", "已回复": "replied",
    "已退订": "unsubscribed",
}  # fmt: skip
EVENT_CODES = {word: code for code, word in enumerate(EVENTS.values())}
UNKNOWN_EVENT = "拼团砍价"
DETAILS = (
    "", "咖啡豆 推荐", "杯子 套装", "新款 外套", "宝宝 纸尿裤", "露营 灯", "大转盘", "刮刮卡", "答题赢积分",
    "消费得积分", "积分抵现", "年度清零", "生日礼", "免费洗护", "专属客服", "新人券", "会员日券", "物流慢",
    "商品破损", "色差", "希望增加自提", "客服很耐心", "何时发货", "如何退货", "生日关怀", "入会欢迎",
    "售后关怀", "升级", "降级", "R", "退订", "好的", "什么活动", "空号", "停机", "需求沟通", "报价跟进",
)  # fmt: skip
DETAIL_CODES = {word: code for code, word in enumerate(DETAILS)}


def code(word: str) -> int:
    """The number of an event word in arrays."""
    return EVENT_CODES[word]


def detail(*words: str) -> list[int]:
    """The numbers of detail texts in arrays."""
    return [DETAIL_CODES[word] for word in words]
