package endpoint

import (
	"errors"
	"fmt"
	"time"

	"github.com/posthouse/posthouse/router/amqp"
)

// Config is what one connection needs to know. The zero value of each field is replaced by the default named beside it; only
// ContainerID is mandatory. A Config may be used for many connections; it is not changed after Accept or Client.
type Config struct {
	// ContainerID names this node to the peer (2.7.1).
	ContainerID string
	// Hostname is the virtual host that a dialling side asks for, in open and sasl-init. May be empty.
	Hostname string

	// MaxFrameSize is the largest frame that the peer may send: 512 or more. Default 65536.
	MaxFrameSize uint32
	// ChannelMax is the highest channel, one less than the number of sessions. Default 255.
	ChannelMax uint16
	// HandleMax is the highest handle in a session, one less than the number of its links. Default 1023.
	HandleMax uint32
	// MaxLinks bounds the links of all sessions of the connection together; one more ends its session with
	// amqp:resource-limit-exceeded. Default 4096.
	MaxLinks int
	// MaxAttachBytes bounds the sum of the sizes of the begin and attach frames of all live sessions and links, which are kept. Default 4 MiB.
	MaxAttachBytes int64
	// SessionWindow is the number of transfer frames that the peer may send in a session ahead of our flow. Default 2048.
	SessionWindow uint32
	// MaxMessageSize is the largest incoming message on links whose attach answer does not set a smaller limit of its own.
	// Default 100 MiB.
	MaxMessageSize uint64

	// IdleTimeout is how long the peer may be silent; it is told half of it (2.4.5). Default 60 s, negative: for ever.
	IdleTimeout time.Duration
	// HandshakeTimeout bounds the time from the socket to the peer's open. Default 10 s.
	HandshakeTimeout time.Duration
	// CloseTimeout bounds the wait for the peer's close after ours. Default 5 s.
	CloseTimeout time.Duration
	// WriteTimeout bounds one write of at most a few hundred KiB; a peer that takes longer to read is dropped. It is what
	// guarantees that memory queued for a peer is always released. Default 30 s.
	WriteTimeout time.Duration

	// Offered and Desired are the capabilities in our open, Properties its properties.
	Offered    []amqp.Symbol
	Desired    []amqp.Symbol
	Properties map[amqp.Symbol]any

	// SASL is what a dialling side authenticates with; nil: no SASL layer.
	SASL *Credentials
	// Authenticate decides at an accepting side who may come in. nil: everybody who comes with ANONYMOUS.
	Authenticate *Authentication

	// Budget is the memory that payloads of all connections share. nil: unbounded.
	Budget *Budget
	// Internal marks a connection between nodes: it counts in the Budget but never waits for it.
	Internal bool
}

// Credentials are what a dialling side authenticates with.
type Credentials struct {
	// User empty: ANONYMOUS, else PLAIN.
	User     string
	Password string
}

// Authentication is the accepting side's policy.
type Authentication struct {
	// Anonymous offers the mechanism ANONYMOUS.
	Anonymous bool
	// Bare lets clients in that skip SASL and begin with the AMQP header. They count as anonymous.
	Bare bool
	// Check is asked once per connection, on its reader goroutine; it may block for as long as the handshake may take. mechanism is
	// "ANONYMOUS" or "PLAIN", or "" for a client without SASL. It returns the identity of the user. nil: anonymous clients get the
	// identity "", and PLAIN is not offered. An error that wraps ErrTemporary is told as such.
	Check func(mechanism, user, password string) (identity string, err error)
}

// ErrTemporary is wrapped by an error of Authentication.Check if the credentials could not be looked at.
var ErrTemporary = errors.New("temporary failure")

const (
	defaultMaxFrameSize     = 64 << 10
	defaultChannelMax       = 255
	defaultHandleMax        = 1023
	defaultMaxLinks         = 4096
	defaultMaxAttachBytes   = 4 << 20
	defaultSessionWindow    = 2048
	defaultMaxMessageSize   = 100 << 20
	defaultIdleTimeout      = 60 * time.Second
	defaultHandshakeTimeout = 10 * time.Second
	defaultCloseTimeout     = 5 * time.Second
	defaultWriteTimeout     = 30 * time.Second
)

// Validate tells what is wrong with a Config.
func (c *Config) Validate() error {
	switch {
	case c.ContainerID == "":
		return errors.New("endpoint: Config.ContainerID is empty")
	case c.MaxFrameSize != 0 && c.MaxFrameSize < amqp.MinMaxFrameSize:
		return fmt.Errorf("endpoint: Config.MaxFrameSize is %d, must be at least %d", c.MaxFrameSize, amqp.MinMaxFrameSize)
	case c.HandshakeTimeout < 0 || c.CloseTimeout < 0 || c.WriteTimeout < 0:
		return errors.New("endpoint: negative timeout in Config")
	case c.IdleTimeout > 0 && c.IdleTimeout < 2*time.Millisecond:
		return fmt.Errorf("endpoint: Config.IdleTimeout is %v, must be at least 2ms", c.IdleTimeout)
	}
	return nil
}

func (c Config) withDefaults() Config {
	setDefault(&c.MaxFrameSize, defaultMaxFrameSize)
	setDefault(&c.ChannelMax, defaultChannelMax)
	setDefault(&c.HandleMax, defaultHandleMax)
	setDefault(&c.MaxLinks, defaultMaxLinks)
	setDefault(&c.MaxAttachBytes, defaultMaxAttachBytes)
	setDefault(&c.SessionWindow, defaultSessionWindow)
	setDefault(&c.MaxMessageSize, defaultMaxMessageSize)
	setDefault(&c.IdleTimeout, defaultIdleTimeout)
	setDefault(&c.HandshakeTimeout, defaultHandshakeTimeout)
	setDefault(&c.CloseTimeout, defaultCloseTimeout)
	setDefault(&c.WriteTimeout, defaultWriteTimeout)
	if c.Authenticate == nil {
		c.Authenticate = &Authentication{Anonymous: true, Bare: true}
	}
	return c
}

func setDefault[T comparable](p *T, def T) {
	var zero T
	if *p == zero {
		*p = def
	}
}
