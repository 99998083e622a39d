"""Files as Taobao, Tmall, JD, Youzan and the Wukong CRM export them: headings, order and quirks of each."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from crm_core.simulate.shapes.shape import FileShape, Make, changed, const, empty, filled, joined, paid, words

RECENT = "2026-09"
"""Taobao orders from this month on come in the form of 2026: a workbook without the buyer's name and phone."""

BUYER = joined(const("tb"), "会员卡号")
MASKED_PHONE = changed("phone", r"^(\d)\d{6}(\d{4})$", r"\1******\2")
TAOBAO_STATES: dict[str, str | None] = {
    "已签收": "卖家已发货，等待买家确认", "卖家已发货": "卖家已发货，等待买家确认", "已评价": "交易成功",
    "待发货": "买家已付款，等待卖家发货", "买家已付款": "买家已付款，等待卖家发货",
}  # fmt: skip
TAOBAO_ORDERS: tuple[tuple[str, str | Make], ...] = (
    ("订单编号", "订单编号"), ("买家会员名", BUYER), ("买家应付货款", "goods"), ("买家应付邮费", "freight"),
    ("总金额", "net"), ("买家实际支付金额", "received"), ("订单状态", words("订单状态", TAOBAO_STATES)),
    ("收货人姓名", "name"), ("收货地址 ", "address"), ("联系手机", joined(const("'"), "phone")),
    ("订单创建时间", "订单创建时间"), ("订单付款时间 ", paid("订单付款时间")), ("宝贝标题 ", "title"), ("宝贝种类", "kinds"),
    ("物流单号", empty), ("物流公司", empty), ("宝贝总数量", "units"), ("店铺名称", const("示例旗舰店")),
    ("订单关闭原因", const("NULL")), ("退款金额", "refunded"), ("确认收货时间", filled("确认收货时间", "NULL")),
    ("发货时间", filled("发货时间", "NULL")),
)  # fmt: skip
LEFT_OUT = ("买家会员名", "收货人姓名", "联系手机")
NEW_NAMES = {"买家实际支付金额": "买家实付金额", "宝贝标题 ": "商品标题"}


def _placed(recent: bool) -> Make:
    def make(frame: pa.Table) -> Any:
        later = pc.greater_equal(frame["订单创建时间"], RECENT)
        return later if recent else pc.invert(later)

    return make


TAOBAO = (
    FileShape("taobao", "ExportOrderList202608.csv", "orders", TAOBAO_ORDERS, "gb18030", _placed(False)),
    FileShape(
        "taobao", "ExportOrderList202610.xlsx", "orders",
        tuple((NEW_NAMES.get(name, name), cell) for name, cell in TAOBAO_ORDERS if name not in LEFT_OUT),
        only=_placed(True),
    ),
    FileShape(
        "taobao", "ExportOrderDetailList.csv", "items",
        (
            ("订单编号", "订单编号"), ("标题", "product"), ("价格", "price"), ("购买数量", "quantity"), ("外部系统编号", "sku"),
            ("商品属性", empty), ("套餐信息", empty), ("备注", empty), ("订单状态", words("订单状态", TAOBAO_STATES)),
            ("商家编码", "sku"), ("订单创建时间", "订单创建时间"), ("订单付款时间", paid("订单付款时间")),
        ),
        "gb18030",
    ),
    FileShape(
        "tmall_orders", "天猫订单.csv", "orders",
        (
            ("订单编号", "订单编号"), ("总金额", "net"), ("买家实际支付金额", "received"), ("收货地址 ", "收货省份"),
            ("订单创建时间", "订单创建时间"), ("订单付款时间 ", paid("订单付款时间")), ("退款金额", "refunded"),
        ),
    ),
)  # fmt: skip

JD_STATES: dict[str, str | None] = {
    "买家已付款": "等待出库", "待发货": "等待出库", "卖家已发货": "等待确认收货", "已签收": "等待确认收货",
    "交易成功": "完成", "已评价": "完成", "交易关闭": "(删除)等待付款", "等待买家付款": "等待付款",
}  # fmt: skip
JD = (
    FileShape(
        "jd", "京东订单明细.csv", "items",
        (
            ("订单号", "订单编号"), ("商品ID", "sku"), ("商品名称", "product"), ("订购数量", "quantity"), ("支付方式", "支付方式"),
            ("下单时间", "订单创建时间"), ("京东价", "price"), ("订单金额", "gross"),
            ("结算金额", joined("net", const("（系统计算中，该值仅供参考）"))), ("余额支付", const("0.00")), ("应付金额", "net"),
            ("订单状态", words("订单状态", JD_STATES)), ("订单类型", const("SOP")),
            ("下单帐号", joined(const("jd_"), "会员卡号")), ("客户姓名", changed("name", "^(.).*$", r"\1**")),
            ("客户地址", "address"), ("联系电话", MASKED_PHONE), ("运费金额", "freight"),
            ("付款确认时间", paid("订单付款时间")), ("货号", "sku"), ("订单完成时间", "确认收货时间"),
            ("订单来源", const("京东")), ("订单渠道", const("京东APP")),
        ),
        "gb18030",
    ),
)  # fmt: skip

YOUZAN_STATES: dict[str, str | None] = {
    "买家已付款": "待发货", "卖家已发货": "已发货", "已签收": "已发货", "交易成功": "交易完成", "已评价": "交易完成",
    "交易关闭": "交易关闭", "等待买家付款": "待付款",
}  # fmt: skip
YOUZAN = (
    FileShape(
        "youzan", "有赞订单报表.csv", "orders",
        (
            ("订单号", joined(const("E"), "订单编号")), ("销售渠道", const("网店")), ("归属店铺", const("示例商城")),
            ("订单类型", const("普通订单")), ("订单状态", words("订单状态", YOUZAN_STATES)), ("订单来源", const("微信小程序")),
            ("订单创建时间", "订单创建时间"), ("买家付款时间", paid("订单付款时间")), ("交易成功时间", "确认收货时间"),
            ("付款方式", "支付方式"), ("商品金额合计", "gross"), ("运费", "freight"), ("店铺优惠合计", "discount"),
            ("应收订单金额", "net"), ("订单实付金额", paid("net", "0.00")), ("全部商品名称", "title"), ("分销员", empty),
            ("收货人省份", "收货省份"), ("收货人城市", "收货城市"), ("收货人手机号/提货人手机号", "phone"),
            ("买家昵称", "name"), ("买家是否会员", const("是")), ("买家手机号", "phone"), ("分销员", empty),
            ("订单退款状态", empty), ("订单已退款金额", "refunded"),
        ),
        "utf-8-sig",
    ),
    FileShape(
        "youzan", "有赞客户列表.csv", "customers",
        (
            ("客户姓名", "姓名"), ("客户昵称", empty), ("客户手机号", "手机号"), ("客户生日", "生日"), ("客户性别", "性别"),
            ("标签", "兴趣"), ("是否会员", const("是")), ("成长值", "points"), ("免费等级", "会员等级"), ("客户积分", "points"),
            ("消费次数", "orders"), ("消费金额", "spent"), ("上次消费时间", "last"), ("来源渠道", "注册渠道"),
            ("成为客户时间", "注册时间"),
        ),
        "utf-8-sig", lambda frame: frame["main"], unfilled=("成为会员时间",),
    ),
)  # fmt: skip

COMPANY = joined(const("客户"), "会员卡号", const("商贸有限公司"))
WUKONG = (
    FileShape(
        "wukong_crm", "客户.csv", "customers",
        (
            ("客户名称", COMPANY), ("客户来源", "注册渠道"), ("客户级别", "会员等级"), ("客户行业", "职业"),
            ("负责人", const("YG001")), ("手机", "手机号"), ("邮箱", "邮箱"),
            ("省份", "省份"), ("城市", "城市"), ("创建时间", "注册时间"),
            ("更新时间", "更新时间"), ("下次联系时间", empty),
        ),
    ),
    FileShape(
        "wukong_crm", "商机.csv", "opportunities",
        (
            ("商机编号", "商机编号"), ("商机名称", joined("商机编号", const("采购"))), ("客户名称", COMPANY),
            ("商机阶段", "商机阶段"), ("商机金额", "商机金额"), ("预计成交日期", "预计成交日期"),
            ("负责人", "负责人"), ("客户来源", "客户来源"),
            ("输单原因", "输单原因"), ("合同编号", "合同编号"), ("创建时间", "创建时间"),
            ("结束时间", "结束时间"), ("更新时间", "更新时间"),
        ),
    ),
    FileShape(
        "wukong_crm", "合同回款.csv", "contract_payments",
        (
            ("合同编号", "合同编号"), ("商机编号", "商机编号"), ("合同金额", empty), ("签约日期", "签约日期"), ("期数", "回款期次"),
            ("计划回款日期", "计划回款日期"), ("回款日期", "回款日期"), ("回款金额", "回款金额"),
        ),
    ),
    FileShape(
        "wukong_crm", "跟进记录.csv", "events",
        (
            ("记录编号", "记录编号"), ("客户名称", COMPANY), ("商机编号", "商机编号"), ("跟进方式", "渠道"), ("记录类型", "event"),
            ("跟进时间", "发生时间"), ("负责人", "员工编号"), ("跟进内容", "内容"),
        ),
        only=lambda frame: pc.and_(pc.equal(frame["family"], "service"), frame["商机编号"].is_valid()),
    ),
)  # fmt: skip
