package peer

// Server is what a leader implements to take sessions. Calls for one session come one after the other, from a goroutine of the network or of
// the hub, never from inside a call of this package's own methods. They must not block: a leader puts what comes into its mailbox.
type Server interface {
	// Opened: an agent asks for a session. The server sends Welcome at some time, or Refuse. A node has one session to a group at a time:
	// Closed has been called for the one before.
	Opened(s *Session, hello *Hello)
	// Received brings messages in order. The slice and what it points to are the server's.
	Received(s *Session, messages []Message)
	// Closed: the session has ended. It is the last call for it, and does not come for a session that the server itself closed or refused.
	Closed(s *Session, err error)
}

// Client is what an agent implements to hold a session to whoever leads a group. Calls come as for Server.
type Client interface {
	// Hello is asked for before each attempt to open a session. Router, Boot and Lane are the client's; Term is filled in.
	Hello() *Hello
	// Opened: the leader has welcomed us.
	Opened(s *Session, welcome *Welcome)
	// Received brings messages in order. A Forgotten may come before Opened.
	Received(s *Session, messages []Message)
	// Closed: the session, which had been Opened, has ended; another one is tried at once. It does not come for a session that the client itself
	// closed.
	Closed(s *Session, err error)
}

// Handler answers requests. It must not block; reply is called once, from any goroutine. An error of type *Error, *NotLeaderError
// or *UnavailableError arrives as such, any other as *UnavailableError.
type Handler func(from, op string, body []byte, reply func(body []byte, err error))
