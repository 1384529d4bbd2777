"""Messages of every kind that python3-qpid-proton can write, each made anew by a function without arguments."""
import uuid

from proton import (UNDESCRIBED, Array, Data, Described, Message, byte, char, decimal32, decimal64, decimal128, float32,
                    int32, short, symbol, timestamp, ubyte, uint, ulong, ushort)

U = uuid.UUID("01234567-89ab-cdef-fedc-ba9876543210")


def nested(depth):
    return {"depth": depth, "list": [depth, [str(depth)], {}], "deeper": nested(depth - 1) if depth else None}


VALUES = {
    "null": None, "true": True, "false": False,
    "ubyte": ubyte(255), "ushort": ushort(65535), "uint0": uint(0), "uint-small": uint(255), "uint": uint(2**32 - 1),
    "ulong0": ulong(0), "ulong-small": ulong(7), "ulong": ulong(2**64 - 1),
    "byte": byte(-128), "short": short(-32768), "int-small": int32(-1), "int": int32(-2**31),
    "long-small": -5, "long": -2**63, "float": float32(1.5), "double": -2.25e300,
    "decimal32": decimal32(123456), "decimal64": decimal64(2**40), "decimal128": decimal128(bytes(range(16))),
    "char": char("\u20ac"), "timestamp": timestamp(1700000000123), "timestamp-before-1970": timestamp(-1), "uuid": U,
    "binary-empty": b"", "binary": bytes(range(256)), "binary-long": bytes(range(256)) * 5,
    "string-empty": "", "string": "Gr\u00fc\u00dfe \U0001f4ee", "string-long": "\u00e9" * 300,
    "symbol": symbol("a-symbol"), "symbol-long": symbol("s" * 300),
    "list-empty": [], "list": [1, "two", b"3", symbol("four"), None, True, U, 6.5], "list-long": list(range(1000)),
    "map-empty": {}, "map": {"a": 1, "b": [1, 2, {"c": U}], symbol("s"): b"x", 7: "number", U: timestamp(0)},
    "nested": nested(12),
    "array-int": Array(UNDESCRIBED, Data.INT, *[int32(i) for i in range(-2, 300)]),
    "array-string": Array(UNDESCRIBED, Data.STRING, "a", "", "c" * 300),
    "array-symbol": Array(UNDESCRIBED, Data.SYMBOL, symbol("a"), symbol("b")),
    "array-described": Array(symbol("d"), Data.LONG, 1, 2),
    "array-empty": Array(UNDESCRIBED, Data.UUID),
    "described": Described(symbol("example:point:list"), [1, 2]),
    "described-number": Described(ulong(0x0000468C00000004), "a selector"),
    "described-nested": [Described("outer", Described(ulong(9), {"k": [None]}))],  # as the body itself, this library can't read it back
}


def value(v):
    return lambda: Message(v)


def data(v):
    return lambda: Message(v, inferred=True)


def everything():
    """A message with all sections, and all fields of those."""
    m = Message("body", durable=True, priority=7, delivery_count=0)
    m.user_id, m.address, m.reply_to, m.correlation_id = b"user", "to", "reply", U
    m.content_type, m.content_encoding = symbol("text/plain"), symbol("identity")
    m.expiry_time, m.creation_time = 4102444800.25, 1700000000.5
    m.group_id, m.group_sequence, m.reply_to_group_id = "group", 2**32 - 1, "reply-group"
    m.annotations = {symbol("x-opt-a"): 1, symbol("x-opt-b"): [U, {"k": "v"}], symbol("x-other"): "text"}
    m.properties = {"null": None, "long": 5, "text": "\u20ac", "uuid": U, "time": timestamp(5), "bytes": b"\0\1", "float": float32(0.5), "bool": False, "uint": uint(3)}
    return m


KINDS = {name: value(v) for name, v in VALUES.items()}
KINDS.update({
    "data": data(b"\0data\xff"), "data-empty": data(b""), "sequence": data([1, "two", [3]]), "sequence-empty": data([]), "everything": everything,
})


def same(m):
    """Whether a message is what KINDS says, down to the types. Its id and subject are the test's."""
    expected = KINDS[m.subject]()
    ours = {k: v for k, v in (m.annotations or {}).items() if not k.startswith("x-opt-posthouse-")}
    fields = ("durable", "priority", "inferred", "user_id", "address", "reply_to", "correlation_id", "content_type", "content_encoding",
              "expiry_time", "creation_time", "group_id", "group_sequence", "reply_to_group_id", "properties", "body")
    return ours == (expected.annotations or {}) and all(typed(getattr(m, f)) == typed(getattr(expected, f)) for f in fields)


def typed(v):
    """A value with the types of all its parts, to be compared."""
    if isinstance(v, dict):
        return type(v).__name__, [(typed(k), typed(x)) for k, x in v.items()]
    if isinstance(v, (list, tuple)):
        return type(v).__name__, [typed(x) for x in v]
    if isinstance(v, Array):
        return "array", typed(v.descriptor), v.type, [typed(x) for x in v.elements]
    if isinstance(v, Described):
        return "described", typed(v.descriptor), typed(v.value)
    return type(v).__name__, v
