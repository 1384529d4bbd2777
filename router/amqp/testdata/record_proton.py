"""A Proton client and a Proton server talk to each other, for the recorder in record_test.go.

Arguments: the address that the server listens on, the address that the client connects to (a relay in between).
"""
import sys
import uuid

from proton import (Array, Condition, Data, Described, Disposition, Message, SymbolList, UNDESCRIBED, byte, char, decimal32, decimal64,
                    decimal128, float32, int32, short, symbol, timestamp, ubyte, uint, ulong, ushort)
from proton.handlers import MessagingHandler
from proton.reactor import AtLeastOnce, Container, Copy, DurableSubscription, DynamicNodeProperties, LinkOption, Selector

server_address, client_address = sys.argv[1], sys.argv[2]


def primitives():
    return [None, True, False, ubyte(200), ushort(60000), uint(0), uint(7), uint(70000), ulong(0), ulong(7), 2**63 - 1, byte(-7), short(-300),
            int32(-7), int32(-70000), -7, -2**40, float32(0.5), 1.5, decimal32(0x01020304), decimal64(0x0102030405060708),
            decimal128(bytes(range(16))), char("\u2709"), timestamp(1709208000005), uuid.UUID(bytes=bytes(range(16))), b"\x00\xff",
            "\u00e4\u4e16", symbol("sym"), [], [1, ["two"]], {"k": {symbol("s"): 1}},
            Array(UNDESCRIBED, Data.INT, int32(1), int32(-200)), Array(symbol("d:e"), Data.STRING, "a", "b")]


class Link(LinkOption):
    def __init__(self, f):
        self.f = f

    def apply(self, link):
        self.f(link)


class Server(MessagingHandler):
    def __init__(self):
        super().__init__(auto_accept=False, auto_settle=False, prefetch=0)
        self.n = 0
        self.sent = 0

    def on_start(self, event):
        self.acceptor = event.container.listen(server_address)
        Client.start(event.container)

    def on_connection_opening(self, event):
        c = event.connection
        c.container = "proton-server"
        c.offered_capabilities = SymbolList(["ANONYMOUS-RELAY"])
        c.properties = {symbol("product"): "server"}

    def on_link_opening(self, event):
        link = event.link
        if link.is_sender:
            if link.remote_source.dynamic:
                link.source.dynamic = True
                link.source.address = "dynamic-1"
            elif link.remote_source.address == "missing":
                return
            else:
                link.source.copy(link.remote_source)
            link.target.copy(link.remote_target)
        else:
            link.target.copy(link.remote_target)
            link.source.copy(link.remote_source)
            link.flow(10)

    def on_link_opened(self, event):
        link = event.link
        if link.is_sender and link.remote_source.address == "missing":
            link.condition = Condition("amqp:not-found", "no such node", {symbol("node"): "missing"})
            link.close()

    def on_sendable(self, event):
        link = event.link
        if link.name != "sub":
            return
        while link.credit and self.sent < 3:
            link.send(Message(body="m%d" % self.sent * (1 if self.sent else 700)))
            self.sent += 1
        if link.drain_mode:
            link.drained()

    def on_message(self, event):
        d = event.delivery
        self.n += 1
        if event.link.name == "pub":
            if self.n == 1:
                self.accept(d)
            elif self.n == 3:
                d.local.condition = Condition("amqp:precondition-failed", "refused", {symbol("a"): 1})
                d.update(Disposition.REJECTED)
                d.settle()
            elif not d.settled:
                self.accept(d)
        elif not d.settled:
            self.accept(d)

    def on_connection_error(self, event):
        event.connection.close()
        self.acceptor.close()


class Client(MessagingHandler):
    @staticmethod
    def start(container):
        conn = container.connect("amqp://" + client_address, handler=Client(), reconnect=False, allowed_mechs="ANONYMOUS",
                                 properties={symbol("product"): "client", symbol("n"): int32(1)},
                                 offered_capabilities=SymbolList(["cap-a", "cap-b"]), desired_capabilities=SymbolList(["ANONYMOUS-RELAY"]),
                                 virtual_host="vhost", heartbeat=60, max_frame_size=1024)
        return conn

    def __init__(self):
        super().__init__(auto_accept=False, auto_settle=False, prefetch=0)
        self.received = 0
        self.settled = 0

    def on_connection_opened(self, event):
        self.container, self.conn = event.container, event.connection

        def target(link):
            link.target.address = "orders"
            link.target.capabilities.put_array(False, Data.SYMBOL)
            link.target.capabilities.enter()
            link.target.capabilities.put_symbol("queue")
            link.target.capabilities.put_symbol("extra")
            link.target.capabilities.exit()
            link.properties = {symbol("p"): uint(1)}
        self.pub = self.container.create_sender(event.connection, None, name="pub", options=Link(target))
        self.sent = False

    def on_sendable(self, event):
        if event.link.name == "pub" and not self.sent:
            self.sent = True
            m = Message(id=uuid.UUID(bytes=bytes(range(16))), user_id=b"me", address="orders", subject="new", reply_to="replies",
                        correlation_id=ulong(7), content_type=symbol("text/plain"), content_encoding=symbol("gzip"), group_id="g",
                        group_sequence=3, reply_to_group_id="rg", expiry_time=1709208000.005, creation_time=1709208000.005,
                        durable=True, priority=9, ttl=90, first_acquirer=True, delivery_count=2, inferred=True, body=b"data")
            m.instructions = {symbol("x-opt-d"): ubyte(7)}
            m.annotations = {symbol("x-opt-m"): Described(symbol("x:y"), "v")}
            m.properties = {"weight": 1.5, "n": None, "i": int32(-5)}
            event.link.send(m)
            event.link.send(Message(body=primitives()))
            event.link.send(Message(body="x" * 3000))
            d = event.link.delivery("settled")
            event.link.stream(Message(body={"a": Described(ulong(0x468c00000004), "s")}).encode())
            d.settle()
            event.link.advance()

    def on_settled(self, event):
        self.settled += 1
        if event.link.name == "pub" and self.settled == 3:
            event.link.close()

    def on_link_closed(self, event):
        if event.link.name == "pub":
            def source(link):
                link.source.expiry_policy = 3
                link.source.timeout = 60
                link.rcv_settle_mode = 0
            self.sub = self.container.create_receiver(event.connection, "orders", name="sub",
                                                      options=[DurableSubscription(), Copy(), Selector("colour = 'red'"), AtLeastOnce(), Link(source)])
            self.sub.flow(2)
        elif event.link.name == "dyn":
            self.container.create_receiver(event.connection, "missing", name="miss")

    def on_message(self, event):
        d = event.delivery
        self.received += 1
        if self.received == 1:
            d.local.failed = True
            d.local.undeliverable = True
            d.local.annotations = {symbol("x-opt-tried"): 1}
            d.update(Disposition.MODIFIED)
            d.settle()
        elif self.received == 2:
            self.release(d, delivered=False)
            self.sub.drain(5)
        elif self.received == 3:
            d.local.section_number = 1
            d.local.section_offset = 2
            d.update(Disposition.RECEIVED)
            self.accept(d)
            d.settle()
            self.sub.detach()
            self.dyn = self.container.create_receiver(self.conn, None, name="dyn", dynamic=True,
                                                      options=DynamicNodeProperties({symbol("x"): "y"}))

    def on_link_opened(self, event):
        if event.link.name == "dyn":
            self.dyn.close()

    def on_link_error(self, event):
        event.link.close()
        event.session.close()

    def on_session_closed(self, event):
        self.conn.condition = Condition("amqp:resource-limit-exceeded", "done")
        self.conn.close()


container = Container(Server())
container.container_id = "proton-client"
container.run()
