"""A Proton client of the broker in the test: python3 proton_client.py HOST:PORT CASE. Prints "ok" if all went as it should."""
import sys

from proton import Message, Delivery, SSLUnavailable  # noqa: F401
from proton.handlers import MessagingHandler
from proton.reactor import AtMostOnce, Container
from proton.utils import BlockingConnection, LinkDetached, SendException

url, case = sys.argv[1], sys.argv[2]


def blocking(**kw):
    return BlockingConnection(url, timeout=20, **kw)


def roundtrip():
    c = blocking()
    s, r = c.create_sender("q"), c.create_receiver("q", credit=10)
    for i in range(300):
        d = c.container and s.link.send(Message(body="message %d" % i, id=i))
        m = r.receive(timeout=20)
        assert m.body == "message %d" % i, m.body
        r.accept()
        c.wait(lambda: d.settled, timeout=20)
        assert d.remote_state == Delivery.ACCEPTED, d.remote_state
        d.settle()
    s.close()
    r.close()
    c.close()


def outcomes():
    c = blocking()
    s, r = c.create_sender("q"), c.create_receiver("q", credit=10)
    for answer, state in ((r.accept, Delivery.ACCEPTED), (r.reject, Delivery.REJECTED),
                          (lambda: r.release(delivered=False), Delivery.RELEASED), (lambda: r.release(delivered=True), Delivery.MODIFIED)):
        d = s.link.send(Message(body="x"))
        r.receive(timeout=20)
        answer()
        c.wait(lambda: d.settled, timeout=20)
        assert d.remote_state == state, (d.remote_state, state)
        d.settle()
    c.close()


def large():
    c = blocking()
    s, r = c.create_sender("q"), c.create_receiver("q", credit=1)
    for size in (0, 1, 511, 512, 40000, 70000, 1 << 20, 10 << 20):
        body = bytes(bytearray(i % 251 for i in range(min(size, 5000)))) * (size // 5000 + 1)
        body = body[:size]
        d = s.link.send(Message(body=body))
        m = r.receive(timeout=20)
        assert bytes(m.body) == body, len(m.body)
        r.accept()
        c.wait(lambda: d.settled, timeout=20)
        d.settle()
    c.close()


def presettled():
    c = blocking()
    s, r = c.create_sender("q", options=AtMostOnce()), c.create_receiver("q", credit=10)
    for i in range(100):
        s.link.send(Message(body=i))
        m = r.receive(timeout=20)
        assert m.body == i, m.body
    c.close()


def drain():
    c = blocking()
    r = c.create_receiver("q")
    for _ in range(3):
        r.link.drain(10)
        c.wait(lambda: not r.link.credit, timeout=20)
        assert not r.fetcher or not r.fetcher.has_message
    s = c.create_sender("q")
    c.wait(lambda: s.link.credit, timeout=20)  # without, the drain would go out before the message
    d = s.link.send(Message(body="last"))
    r.link.drain(10)
    c.wait(lambda: r.fetcher.has_message, timeout=20)
    c.wait(lambda: not r.link.credit, timeout=20)
    r.fetcher.pop()
    r.accept()
    c.wait(lambda: d.settled, timeout=20)
    c.close()


def refused():
    c = blocking()
    for make in (c.create_sender, c.create_receiver):
        try:
            make("unwanted", name="unwanted")
            raise AssertionError("not refused")
        except LinkDetached as e:
            assert e.condition == "amqp:not-found", e.condition
    c.create_sender("q").close()
    c.close()


def heartbeat():
    c = blocking(heartbeat=1)
    s = c.create_sender("q")
    try:
        c.wait(lambda: False, timeout=3)
    except Exception as e:
        assert "timed out" in str(e), e
    s.close()
    c.close()


class Flood(MessagingHandler):
    """Sends and receives many at once, with Proton's own credit."""

    def __init__(self, n):
        super(Flood, self).__init__(prefetch=100)
        self.n, self.sent, self.got, self.confirmed = n, 0, 0, 0

    def on_start(self, event):
        conn = event.container.connect(url)
        event.container.create_receiver(conn, "flood")
        event.container.create_sender(conn, "flood")

    def on_sendable(self, event):
        while event.sender.credit and self.sent < self.n:
            event.sender.send(Message(body=self.sent))
            self.sent += 1

    def on_message(self, event):
        assert event.message.body == self.got, (event.message.body, self.got)
        self.got += 1

    def on_accepted(self, event):
        self.confirmed += 1
        if self.confirmed == self.n:
            event.connection.close()

    def on_link_error(self, event):
        raise AssertionError(event.link.remote_condition)

    def on_transport_error(self, event):
        raise AssertionError(event.transport.condition)


def flood():
    h = Flood(5000)
    Container(h).run()
    assert h.got == h.confirmed == 5000, (h.got, h.confirmed)


def plain():
    c = blocking(user="alice", password="secret", allow_insecure_mechs=True, allowed_mechs="PLAIN")
    c.create_sender("q").close()
    c.close()
    try:
        blocking(user="alice", password="guess", allow_insecure_mechs=True, allowed_mechs="PLAIN")
        raise AssertionError("let in")
    except Exception as e:
        assert "unauthorized" in str(e) or "Authentication" in str(e), e


globals()[case]()
print("ok")
