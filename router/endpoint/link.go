package endpoint

import "github.com/posthouse/posthouse/router/amqp"

// Link is a [*Sender] or a [*Receiver]: the local end of a link, named for what it does here. A peer's receiving link has a Sender here.
// All methods may be called from any goroutine and don't block.
type Link interface {
	// Session and Conn are what the link is part of.
	Session() *Session
	Conn() *Conn
	// Name is the link's name.
	Name() string
	// Remote is the peer's attach; nil until it came. It must not be changed.
	Remote() *amqp.Attach
	// Pending tells that the peer's attach waits for Accept or Refuse.
	Pending() bool
	// Answer makes the attach that would answer the peer's: termini, settle modes as the peer wished them, nothing else. The caller
	// changes what is different here, and gives it to Accept. The termini are the peer's own: replace, don't change them.
	Answer() amqp.Attach
	// Refuse answers the peer's attach with an attach without terminus and a closing detach that says why (2.6.3). There will be a
	// Detached. False: there was nothing to answer.
	Refuse(err *amqp.Error) bool
	// Detach detaches the link; closed tells that it shall cease to exist for both sides, err (may be nil) why. What was sent but not yet
	// written is dropped (Outcome.Lost, not Sent). Settlements made before are sent before. After the peer's own detach it is the
	// answer, for a link that was held by HoldDetach or for a handler that wants another than the engine's (same closed
	// flag, no error). Detached comes with the peer's detach. False: the link is gone, or on its way.
	Detach(closed bool, err *amqp.Error) bool
	// HoldDetach, called in Handler.Detached for a detach of the peer's, keeps the engine from answering it: Detach must be
	// called, when what the peer asked for is done.
	HoldDetach()
	// Data is what SetData left with the link. The engine does not touch it, nor does it lock: set it in Handler.Attached or before
	// the link is shown to other goroutines. (NewSender and NewReceiver take it as an argument.)
	Data() any
	SetData(v any)
}

// link is what senders and receivers have in common. All but the first group is guarded by the connection's lock.
type link struct {
	session   *Session
	self      Link
	snd       *Sender   // either this
	rcv       *Receiver // or that
	role      amqp.Role // ours
	name      string
	initiated bool // by us
	data      any

	handle uint32       // ours
	remote *amqp.Attach // the peer's
	local  amqp.Attach  // ours: what goes out, or went out
	size   int64        // of the peer's attach, as counted in conn.attachBytes

	pending      bool // the peer's attach waits for an answer
	attachOwed   bool
	attachSent   bool
	flowOwed     bool
	detachOwed   bool
	detachSent   bool
	detachRcvd   bool
	held         bool // the peer's detach waits for Detach
	failed       bool // our detach is because of a mistake of the peer's or carries an error
	detachClosed bool
	detachErr    *amqp.Error
	peerClosed   bool // closed flag of the peer's detach
	told         bool // Detached is told, or will be
	dirty        bool // on session.dirtyLinks
}

func (l *link) Session() *Session { return l.session }
func (l *link) Conn() *Conn       { return l.session.conn }
func (l *link) Name() string      { return l.name }
func (l *link) Data() any         { return l.data }
func (l *link) SetData(v any)     { l.data = v }

func (l *link) Remote() *amqp.Attach {
	c := l.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	return l.remote
}

func (l *link) Pending() bool {
	c := l.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	return l.pending
}

func (l *link) Answer() amqp.Attach {
	c := l.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.remote == nil {
		return amqp.Attach{}
	}
	return amqp.Attach{
		Source:        l.remote.Source,
		Target:        l.remote.Target,
		Coordinator:   l.remote.Coordinator,
		OtherSource:   l.remote.OtherSource,
		OtherTarget:   l.remote.OtherTarget,
		SndSettleMode: l.remote.SndSettleMode,
		RcvSettleMode: l.remote.RcvSettleMode,
	}
}

// acceptLocked answers the peer's attach.
func (l *link) acceptLocked(answer amqp.Attach) bool {
	if !l.pending || !l.liveLocked() {
		return false
	}
	l.pending = false
	answer.Name, answer.Handle, answer.Role = l.name, l.handle, l.role
	if l.remote.Unsettled != nil && answer.Unsettled == nil {
		// 2.6.3: what comes back to an existing terminus says what it knows. We know of no delivery.
		answer.Unsettled = []amqp.UnsettledDelivery{}
	}
	l.setLocalLocked(answer)
	l.attachOwed = true
	l.dirtyLocked()
	l.session.conn.owedLocked(nil)
	return true
}

// setLocalLocked fills in our attach what is the engine's business.
func (l *link) setLocalLocked(a amqp.Attach) {
	if l.role == amqp.RoleSender {
		a.InitialDeliveryCount = amqp.Some(uint32(0))
	} else {
		a.InitialDeliveryCount = amqp.Optional[uint32]{}
		if a.MaxMessageSize == 0 {
			a.MaxMessageSize = l.session.conn.cfg.MaxMessageSize
		}
	}
	l.local = a
}

func (l *link) Refuse(err *amqp.Error) bool {
	c := l.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	return l.pending && l.detachLocked(true, err)
}

func (l *link) Detach(closed bool, err *amqp.Error) bool {
	c := l.session.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	return l.detachLocked(closed, err)
}

// detachLocked makes us owe a detach.
func (l *link) detachLocked(closed bool, err *amqp.Error) bool {
	if !l.liveLocked() {
		return false
	}
	if l.pending {
		// 2.6.3: an attach without our terminus, and a detach at once.
		l.pending = false
		refusal := amqp.Attach{
			Name: l.name, Handle: l.handle, Role: l.role,
			SndSettleMode: l.remote.SndSettleMode, RcvSettleMode: l.remote.RcvSettleMode,
		}
		if l.role == amqp.RoleSender {
			refusal.Target = l.remote.Target
		} else {
			refusal.Source = l.remote.Source
		}
		l.setLocalLocked(refusal)
		l.attachOwed = true
	}
	l.detachOwed, l.detachClosed, l.detachErr = true, closed, err
	l.failed = err != nil
	l.dropLocked()
	l.dirtyLocked()
	l.session.conn.owedLocked(nil)
	return true
}

// liveLocked tells whether frames of ours may still go out on the link, other than those that are owed already.
func (l *link) liveLocked() bool { return !l.detachOwed && !l.detachSent && l.session.liveLocked() }

// usableLocked tells whether the link may still be used by our side: not so when the peer has detached and we have not answered yet.
func (l *link) usableLocked() bool { return l.liveLocked() && !l.detachRcvd && !l.told }

// dropLocked gives up the payload of what is not written. What becomes of the deliveries is told later, by the reader.
func (l *link) dropLocked() {
	if l.snd != nil {
		l.snd.dropQueueLocked()
	} else {
		l.rcv.dropPartialLocked()
	}
}

func (l *link) HoldDetach() {
	c := l.session.conn
	c.mu.Lock()
	l.held = true
	c.mu.Unlock()
}

// answerDetachLocked answers the peer's detach after the handler was told of it.
func (l *link) answerDetachLocked() {
	if l.detachRcvd && !l.held {
		l.detachLocked(l.peerClosed, nil)
	}
}

// failLocked detaches the link for a mistake of the peer's (2.6.5). Called by the reader.
func (l *link) failLocked(err *amqp.Error) {
	if l.detachLocked(true, err) {
		l.goneLocked(Detached{Err: err, Lost: true})
	}
}

// vanishLocked is the end of a link of ours whose attach has not gone out, and must not.
func (l *link) vanishLocked(err *amqp.Error) {
	l.goneLocked(Detached{Err: err, Lost: true})
	l.attachOwed, l.detachOwed, l.detachSent, l.detachRcvd = false, false, true, true
	l.releaseLocked()
}

// goneLocked tells the handler the final Outcomes and Detached, if it was not told.
func (l *link) goneLocked(how Detached) {
	if l.told {
		return
	}
	l.told = true
	l.dropLocked()
	if l.snd != nil {
		l.snd.loseDeliveriesLocked()
	} else {
		l.rcv.loseDeliveriesLocked()
	}
	c := l.session.conn
	c.events = append(c.events, event{kind: evDetached, link: l, rare: &rareEvent{detached: how}})
}

// releaseLocked forgets the link when both sides have detached.
func (l *link) releaseLocked() {
	s := l.session
	if !l.detachSent || !l.detachRcvd || s.byHandle == nil || s.byHandle[l.handle] != l {
		return
	}
	s.byHandle[l.handle] = nil
	s.unnameLocked(l)
	s.conn.links--
	s.conn.attachBytes -= l.size
}
