"""A qpid-proton client in the hands of a test.

It reads commands from stdin, one a line, the words separated by tabs: an operation, then key=value. It writes what
happens to stdout as JSON, one object a line. What was not asked for (a link that ends, a connection that is lost, an
error) is written too: the test decides whether it may be. Everything is the library's default unless a command says
otherwise.
"""
import json
import sys
import threading

from bodies import KINDS, same
from proton import Delivery, Message, Terminus, symbol
from proton.handlers import MessagingHandler
from proton.reactor import ApplicationEvent, AtMostOnce, Container, DurableSubscription, EventInjector, LinkOption

GAP = symbol("x-opt-posthouse-gap")


def emit(event, **fields):
    sys.stdout.write(json.dumps(dict(fields, event=event), default=str) + "\n")
    sys.stdout.flush()


def pattern(size):
    """Bytes of which each says where it belongs."""
    blocks = [bytes(x ^ c for x in range(256)) for c in range(256)]
    return b"".join(blocks[(k ^ k >> 8) & 255] for k in range(size // 256 + 1))[:size]


def condition_of(c):
    return {"condition": c.name, "text": c.description} if c else {}


class Settings(LinkOption):
    """What a link is to say beyond its address."""

    def __init__(self, args):
        self.properties = {symbol(k[5:]): int(v) if v.isdigit() else v for k, v in args.items() if k.startswith("prop:")}
        self.lookup = "lookup" in args
        self.timeout = int(args.get("timeout", 0))

    def apply(self, link):
        if self.properties:
            link.properties = self.properties
        if self.lookup:
            link.source.type = Terminus.UNSPECIFIED
        if self.timeout:
            link.source.durability = Terminus.DELIVERIES
            link.source.expiry_policy = Terminus.EXPIRE_WITH_LINK
            link.source.timeout = self.timeout


class OnConnection(MessagingHandler):
    """Tells what happens to one connection."""

    def __init__(self, peer, name):
        super().__init__()
        self.peer, self.name = peer, name

    def on_connection_opened(self, event):
        emit("connected", conn=self.name, container=event.connection.remote_container)

    def on_connection_closed(self, event):
        emit("disconnected", conn=self.name)

    def on_connection_closing(self, event):
        emit("error", conn=self.name, what="the peer closes the connection")

    def on_connection_error(self, event):
        emit("error", conn=self.name, what="connection error", **condition_of(event.connection.remote_condition))

    def on_session_closing(self, event):
        emit("error", conn=self.name, what="the peer ends the session")

    def on_session_error(self, event):
        emit("error", conn=self.name, what="session error", **condition_of(event.session.remote_condition))

    def on_disconnected(self, event):
        emit("error", conn=self.name, what="the connection is lost")

    def on_transport_error(self, event):
        emit("error", conn=self.name, what="transport error", **condition_of(event.transport.condition))
        event.connection.close()  # or it dials again, for ever


class OnLink(MessagingHandler):
    """Tells what happens to one link."""

    def __init__(self, peer, name, **options):
        super().__init__(**options)
        self.peer, self.name = peer, name
        self.sent = {}  # delivery tag -> message id
        self.held = {}  # message id -> delivery
        self.draining = False
        self.leaving = False

    def on_link_opened(self, event):
        s = event.link.remote_source if event.link.is_receiver else event.link.remote_target
        there = s.type != Terminus.UNSPECIFIED
        policies = {Terminus.EXPIRE_WITH_LINK: "link-detach", Terminus.EXPIRE_WITH_SESSION: "session-end",
                    Terminus.EXPIRE_WITH_CONNECTION: "connection-close", Terminus.EXPIRE_NEVER: "never"}
        terminus = {"address": s.address, "durable": s.durability, "expiry": policies.get(s.expiry_policy), "timeout": s.timeout}
        emit("attached", link=self.name, terminus=terminus if there else None, properties=event.link.remote_properties or {})

    def on_link_remote_close(self, event):
        c = event.link.remote_condition
        if self.leaving and not c:
            emit("closed", link=self.name)
        else:
            emit("error", link=self.name, what="the peer closes the link", **condition_of(c))

    def on_link_error(self, event):
        pass  # told by on_link_remote_close; the default would close the connection

    def on_link_remote_detach(self, event):
        c = event.link.remote_condition
        if self.leaving and not c:
            emit("detached", link=self.name)
        else:
            emit("error", link=self.name, what="the peer detaches the link", **condition_of(c))

    def on_message(self, event):
        m, d = event.message, event.delivery
        fields = {"id": m.id, "count": m.delivery_count, "first": m.first_acquirer, "settled": d.settled}
        annotations = m.annotations or {}
        if GAP in annotations:
            fields["gap"] = annotations[GAP]
        if m.subject in KINDS:
            fields["kind"], fields["intact"] = m.subject, same(m)
        elif isinstance(m.body, bytes):
            fields["size"], fields["intact"] = len(m.body), m.body == pattern(len(m.body))
        self.held[m.id] = d
        emit("message", link=self.name, **fields)
        self.tell_drained(event.link)

    def on_link_flow(self, event):
        if event.link.is_receiver:
            self.tell_drained(event.link)

    def tell_drained(self, link):
        if self.draining and not link.draining():
            self.draining = False
            emit("drained", link=self.name, credit=link.credit - link.queued)  # without what has come and waits here

    def on_settled(self, event):
        d = event.delivery
        if d.link.is_sender:
            states = {Delivery.ACCEPTED: "accepted", Delivery.REJECTED: "rejected", Delivery.RELEASED: "released", Delivery.MODIFIED: "modified"}
            emit("outcome", link=self.name, id=self.sent.pop(d.tag), state=states.get(d.remote_state, str(d.remote_state)),
                 **condition_of(d.remote.condition))


class Peer(MessagingHandler):
    def __init__(self):
        super().__init__()
        self.connections, self.links, self.handlers = {}, {}, {}

    def on_start(self, event):
        self.container = event.container
        self.commands = EventInjector()
        self.container.selectable(self.commands)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in sys.stdin:
            self.commands.trigger(ApplicationEvent("command", subject=line.rstrip("\n")))

    def on_command(self, event):
        operation, *words = event.subject.split("\t")
        args = dict(w.split("=", 1) for w in words)
        getattr(self, "do_" + operation)(args)

    def do_connect(self, args):
        options = {}
        if args.get("sasl") == "none":
            options["sasl_enabled"] = False
        elif args.get("sasl") == "anonymous":
            options["allowed_mechs"] = "ANONYMOUS"
        elif args.get("sasl") == "plain":
            options.update(user=args["user"], password=args["password"])
        if "heartbeat" in args:
            options["heartbeat"] = float(args["heartbeat"])
        h = OnConnection(self, args["conn"])
        self.connections[args["conn"]] = self.container.connect(args["url"], handler=h, **options)

    def do_receiver(self, args):
        options = [Settings(args)]
        if "durable" in args:
            options.append(DurableSubscription())
        if "settled" in args:
            options.append(AtMostOnce())
        handling = {}
        if "credit" in args:
            handling["prefetch"] = int(args["credit"])
        if "manual" in args:
            handling["auto_accept"] = False
        h = OnLink(self, args["link"], **handling)
        self.handlers[args["link"]] = h
        self.links[args["link"]] = self.container.create_receiver(
            self.connections[args["conn"]], args.get("address"), name=args["link"], handler=h, options=options)

    def do_sender(self, args):
        h = OnLink(self, args["link"])
        self.handlers[args["link"]] = h
        self.links[args["link"]] = self.container.create_sender(
            self.connections[args["conn"]], args["address"], name=args["link"], handler=h, options=[AtMostOnce()] if "settled" in args else None)

    def do_send(self, args):
        m = Message()
        told = {}
        if "kind" in args:
            m = KINDS[args["kind"]]()
            m.subject = args["kind"]
        m.id = args["id"]
        if "size" in args:
            m.body = pattern(int(args["size"]))
            m.inferred = True
        elif "total" in args:
            m.inferred = True
            m.body = pattern(int(args["total"]) - 100)
            m.body = pattern(len(m.body) + int(args["total"]) - len(m.encode()))
        encoded = m.encode()
        if "kind" in args:
            told["hex"] = encoded.hex()
        d = self.links[args["link"]].send(m)
        if "settled" not in args:
            self.handlers[args["link"]].sent[d.tag] = args["id"]
        emit("sent", link=args["link"], id=args["id"], size=len(encoded), **told)

    def do_kinds(self, args):
        emit("kinds", kinds=list(KINDS))

    def do_credit(self, args):
        self.links[args["link"]].flow(int(args["credit"]))

    def do_drain(self, args):
        self.handlers[args["link"]].draining = True
        self.links[args["link"]].drain(0)

    def do_settle(self, args):
        h = self.handlers[args["link"]]
        d, outcome = h.held.pop(args["id"]), args["outcome"]
        if outcome == "accepted":
            h.accept(d)
        elif outcome == "rejected":
            h.reject(d)
        elif outcome == "released":
            h.release(d, delivered=False)
        else:
            d.local.failed = True
            d.local.undeliverable = outcome == "undeliverable"
            h.release(d)

    def do_detach(self, args):
        self.handlers[args["link"]].leaving = True
        self.links[args["link"]].detach()

    def do_close(self, args):
        self.handlers[args["link"]].leaving = True
        self.links[args["link"]].close()

    def do_disconnect(self, args):
        self.connections[args["conn"]].close()

    def do_quit(self, args):
        self.container.stop()


container = Container(Peer())
container.container_id = sys.argv[1]
container.run()
