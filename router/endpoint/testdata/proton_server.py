"""A Proton server: prints its port, then sends back to "back" what comes in, once a receiver is there, until it is killed."""
import socket

from proton import Message
from proton.handlers import MessagingHandler
from proton.reactor import Container


class Server(MessagingHandler):
    def __init__(self):
        super(Server, self).__init__(prefetch=50, auto_accept=True)
        self.back, self.waiting = None, []

    def on_start(self, event):
        acceptor = event.container.listen("127.0.0.1:0")
        listener = socket.fromfd(acceptor._selectable.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        print(listener.getsockname()[1], flush=True)
        listener.close()

    def on_link_opening(self, event):
        event.link.source.copy(event.link.remote_source)
        event.link.target.copy(event.link.remote_target)
        if event.link.is_sender:
            self.back = event.link

    def pump(self):
        while self.waiting and self.back and self.back.credit:
            self.back.send(self.waiting.pop(0))

    def on_message(self, event):
        self.waiting.append(Message(body=event.message.body))
        self.pump()

    def on_sendable(self, event):
        self.pump()


Container(Server()).run()
