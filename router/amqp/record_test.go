//go:build record

package amqp

// This file records testdata/golden: what other implementations really send.
//
//	go test -tags record -run Record -v ./router/amqp
//
// go-amqp talks to a peer that is scripted here; of Proton, client and server talk to each other through a relay, by means of
// /usr/bin/python3 with the package python3-qpid-proton. The files are committed, and golden_test.go says what they must decode to.

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"
)

// recorder cuts what both sides send into protocol headers and frames.
type recorder struct {
	mu    sync.Mutex
	lines []string
	rest  map[string][]byte // by side
}

func (r *recorder) add(side string, b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rest == nil {
		r.rest = map[string][]byte{}
	}
	rest := append(r.rest[side], b...)
	for {
		item, after, ok := nextItem(rest)
		if !ok {
			break
		}
		r.lines = append(r.lines, side+" "+hex.EncodeToString(item))
		rest = after
	}
	r.rest[side] = rest
}

func nextItem(b []byte) (item, rest []byte, ok bool) {
	if bytes.HasPrefix(b, []byte("AMQP")) {
		if len(b) < ProtocolHeaderSize {
			return nil, b, false
		}
		return b[:ProtocolHeaderSize], b[ProtocolHeaderSize:], true
	}
	_, rest, ok, err := NextFrame(b, 1<<20)
	if err != nil {
		panic(err)
	}
	return b[:len(b)-len(rest)], rest, ok
}

func (r *recorder) write(t *testing.T, file string, comment ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	out := "# " + strings.Join(comment, "\n# ") + "\n" + strings.Join(r.lines, "\n") + "\n"
	if err := os.WriteFile(filepath.Join("testdata", "golden", file), []byte(out), 0o644); err != nil {
		t.Fatal(err)
	}
}

// peer answers a client of go-amqp: whatever it asks for it gets. Only what the client sends is recorded.
type peer struct {
	conn      net.Conn
	rec       recorder
	maxFrame  uint32
	messages  [][]byte // for the first credit
	delivered uint32
	id        uint32 // of the delivery that comes in
}

func (p *peer) run() error {
	var buf []byte
	in := make([]byte, 1<<16)
	for {
		n, err := p.conn.Read(in)
		p.rec.add("client", in[:n])
		buf = append(buf, in[:n]...)
		for {
			item, rest, ok := nextItem(buf)
			if !ok {
				break
			}
			buf = rest
			if err := p.answer(item); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (p *peer) answer(item []byte) error {
	if item[0] == 'A' {
		h, err := ParseProtocolHeader(item)
		if err != nil {
			return err
		}
		out := h.Append(nil)
		if h == HeaderSASL {
			out = AppendSASLFrame(out, &SASLMechanisms{Mechanisms: []Symbol{"PLAIN", "ANONYMOUS"}})
		}
		_, err = p.conn.Write(out)
		return err
	}
	f, _, _, err := NextFrame(item, 1<<20)
	if err != nil || len(f.Body) == 0 {
		return err
	}
	var out []byte
	if f.Type == FrameSASL {
		out = AppendSASLFrame(nil, &SASLOutcome{Code: SASLOK})
	} else if out, err = p.perform(f); err != nil {
		return err
	}
	_, err = p.conn.Write(out)
	return err
}

func (p *peer) perform(f Frame) (out []byte, err error) {
	x, _, err := DecodePerformative(f.Body)
	if err != nil {
		return nil, err
	}
	ch := f.Channel
	switch x := x.(type) {
	case *Open:
		return AppendFrame(nil, 0, &Open{ContainerID: "peer", MaxFrameSize: p.maxFrame, ChannelMax: 10}), nil
	case *Begin:
		return AppendFrame(nil, ch, &Begin{RemoteChannel: Some(ch), IncomingWindow: 100, OutgoingWindow: 100, HandleMax: 10}), nil
	case *Attach:
		return p.attach(ch, x), nil
	case *Flow:
		return p.flow(ch, x), nil
	case *Transfer:
		p.id = x.DeliveryID.Or(p.id)
		if x.More || x.Settled.Value {
			return nil, nil
		}
		return AppendFrame(nil, ch, &Disposition{Role: RoleReceiver, First: p.id, Last: p.id, Settled: true, State: Accepted{}}), nil
	case *Disposition:
		if x.Settled {
			return nil, nil
		}
		return AppendFrame(nil, ch, &Disposition{Role: RoleSender, First: x.First, Last: x.Last, Settled: true, State: x.State}), nil
	case *Detach:
		return AppendFrame(nil, ch, &Detach{Handle: x.Handle, Closed: true}), nil
	case *End:
		return AppendFrame(nil, ch, &End{}), nil
	case *Close:
		return AppendFrame(nil, 0, &Close{}), nil
	}
	return nil, nil
}

func (p *peer) attach(ch uint16, x *Attach) []byte {
	answer := *x
	answer.Role = !x.Role
	if answer.Role == RoleSender {
		answer.InitialDeliveryCount = Some(uint32(0))
		if x.Source.Dynamic {
			answer.Source.Address = "made-for-you"
		}
		return AppendFrame(nil, ch, &answer)
	}
	answer.InitialDeliveryCount = Optional[uint32]{}
	out := AppendFrame(nil, ch, &answer)
	return AppendFrame(out, ch, &Flow{
		NextIncomingID: Some(uint32(0)), IncomingWindow: 100, OutgoingWindow: 100, Handle: Some(x.Handle), DeliveryCount: Some(uint32(0)), LinkCredit: Some(uint32(50)),
	})
}

func (p *peer) flow(ch uint16, x *Flow) (out []byte) {
	if !x.Handle.Set {
		return nil
	}
	for _, m := range p.messages {
		tag := []byte{byte(p.delivered)}
		out = AppendTransferFrame(out, ch, &Transfer{Handle: x.Handle.Value, DeliveryID: Some(p.delivered), DeliveryTag: tag, MessageFormat: Some(uint32(0))}, len(m))
		out = append(out, m...)
		p.delivered++
	}
	p.messages = nil
	if x.Drain {
		out = AppendFrame(out, ch, &Flow{
			NextIncomingID: Some(uint32(0)), IncomingWindow: 100, NextOutgoingID: p.delivered, OutgoingWindow: 100, Handle: x.Handle,
			DeliveryCount: Some(x.DeliveryCount.Value + x.LinkCredit.Value), LinkCredit: Some(uint32(0)), Drain: true,
		})
	}
	return out
}

func goAMQPVersion() string {
	info, _ := debug.ReadBuildInfo()
	for _, m := range info.Deps {
		if m.Path == "github.com/Azure/go-amqp" {
			return "go-amqp " + m.Version + " (github.com/Azure/go-amqp)"
		}
	}
	return "go-amqp"
}

func recordGoAMQP(t *testing.T, file, what string, p *peer, o *goamqp.ConnOptions, do func(context.Context, *goamqp.Conn) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	client, server := net.Pipe()
	p.conn = server
	done := make(chan error, 1)
	go func() { done <- p.run() }()
	conn, err := goamqp.NewConn(ctx, client, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := do(ctx, conn); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Log(err)
	}
	server.Close()
	if err := <-done; err != nil && err != io.ErrClosedPipe {
		t.Log(err)
	}
	p.rec.write(t, file, goAMQPVersion(), what)
}

func TestRecordGoAMQPReceiver(t *testing.T) {
	text := &Message{Value: "hello"}
	second := goamqp.ReceiverSettleModeSecond
	p := &peer{maxFrame: 65536, messages: [][]byte{text.Append(nil), text.Append(nil), text.Append(nil), text.Append(nil)}}
	recordGoAMQP(t, "goamqp-receiver.txt",
		"client: PLAIN, open with options, a durable subscription with a selector, four messages: accepted, rejected, released, modified; drain; close; then a dynamic receiver",
		p, &goamqp.ConnOptions{
			ContainerID: "golden", HostName: "vhost", IdleTimeout: 30 * time.Second, MaxFrameSize: 4096, MaxSessions: 16,
			Properties: map[string]any{"product": "recorder"}, SASLType: goamqp.SASLTypePlain("user", "secret"),
		},
		func(ctx context.Context, conn *goamqp.Conn) error {
			s, err := conn.NewSession(ctx, nil)
			if err != nil {
				return err
			}
			r, err := s.NewReceiver(ctx, "orders", &goamqp.ReceiverOptions{
				Name: "sub-1", Credit: -1, Properties: map[string]any{"limit": int64(1000)}, Filters: []goamqp.LinkFilter{goamqp.NewSelectorFilter("colour = 'red'")},
				SourceDurability: goamqp.DurabilityUnsettledState, SourceExpiryPolicy: goamqp.ExpiryPolicyNever, SourceExpiryTimeout: 7,
				SourceCapabilities: []string{"topic", "shared"}, SourceDistributionMode: goamqp.SourceDistributionModeCopy,
				SettlementMode: &second, MaxMessageSize: 1 << 20, TargetAddress: "here", DesiredCapabilities: []string{"SHARED-SUBS"},
			})
			if err != nil {
				return err
			}
			if err := r.IssueCredit(5); err != nil {
				return err
			}
			for i := range 4 {
				m, err := r.Receive(ctx, nil)
				if err != nil {
					return err
				}
				switch i {
				case 0:
					err = r.AcceptMessage(ctx, m)
				case 1:
					// In mode second it answers with the error that it was given, once the peer has settled.
					refused := &goamqp.Error{Condition: goamqp.ErrCondNotAllowed, Description: "no", Info: map[string]any{"why": "because"}}
					if err = r.RejectMessage(ctx, m, refused); err != nil && strings.Contains(err.Error(), "amqp:not-allowed") {
						err = nil
					}
				case 2:
					err = r.ReleaseMessage(ctx, m)
				case 3:
					err = r.ModifyMessage(ctx, m, &goamqp.ModifyMessageOptions{DeliveryFailed: true, UndeliverableHere: true, Annotations: goamqp.Annotations{"x-opt-tried": int32(-1)}})
				}
				if err != nil {
					return err
				}
			}
			if err := r.DrainCredit(ctx, nil); err != nil {
				return err
			}
			if err := r.Close(ctx); err != nil {
				return err
			}
			if _, err := s.NewReceiver(ctx, "", &goamqp.ReceiverOptions{Name: "reply", DynamicAddress: true, Credit: 3}); err != nil {
				return err
			}
			return s.Close(ctx)
		})
}

func TestRecordGoAMQPSender(t *testing.T) {
	p := &peer{maxFrame: 512}
	ptr := func(s string) *string { return &s }
	at := time.Date(2024, 2, 29, 12, 0, 0, 5e6, time.UTC)
	unsettled := goamqp.SenderSettleModeMixed
	recordGoAMQP(t, "goamqp-sender.txt",
		"client: ANONYMOUS, a sender; a message with all sections; one that is settled, with a sequence; a large one in frames of 512 bytes; one with a value; close",
		p, &goamqp.ConnOptions{ContainerID: "golden", SASLType: goamqp.SASLTypeAnonymous()},
		func(ctx context.Context, conn *goamqp.Conn) error {
			s, err := conn.NewSession(ctx, &goamqp.SessionOptions{MaxLinks: 20})
			if err != nil {
				return err
			}
			w, err := s.NewSender(ctx, "orders", &goamqp.SenderOptions{
				Name: "pub-1", SettlementMode: &unsettled, TargetCapabilities: []string{"queue"}, TargetDurability: goamqp.DurabilityConfiguration,
				TargetExpiryPolicy: goamqp.ExpiryPolicyLinkDetach, TargetExpiryTimeout: 300, SourceAddress: "from", Properties: map[string]any{"a": true},
			})
			if err != nil {
				return err
			}
			all := &goamqp.Message{
				DeliveryTag:         []byte("tag"),
				Header:              &goamqp.MessageHeader{Durable: true, Priority: 9, TTL: 90 * time.Second, FirstAcquirer: true, DeliveryCount: 300},
				DeliveryAnnotations: goamqp.Annotations{"x-opt-d": uint8(7)},
				Annotations:         goamqp.Annotations{int64(42): goamqp.Symbol("ulong key")},
				Properties: &goamqp.MessageProperties{
					MessageID: goamqp.UUID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, UserID: []byte("me"), To: ptr("orders"), Subject: ptr("new"),
					ReplyTo: ptr("replies"), CorrelationID: uint64(1 << 40), ContentType: ptr("text/plain"), ContentEncoding: ptr("gzip"),
					AbsoluteExpiryTime: &at, CreationTime: &at, GroupID: ptr("g"), GroupSequence: func() *uint32 { n := uint32(3); return &n }(), ReplyToGroupID: ptr("rg"),
				},
				ApplicationProperties: map[string]any{"weight": 1.5},
				Data:                  [][]byte{[]byte("one"), []byte("two")},
				Footer:                goamqp.Annotations{"x-opt-sum": []byte{1, 2}},
			}
			if err := w.Send(ctx, all, nil); err != nil {
				return err
			}
			sequence := &goamqp.Message{Sequence: [][]any{{"a", int32(300), nil, false, []any{}, float32(0.5), at, goamqp.UUID{9}}}}
			if err := w.Send(ctx, sequence, &goamqp.SendOptions{Settled: true}); err != nil {
				return err
			}
			if err := w.Send(ctx, goamqp.NewMessage(bytes.Repeat([]byte("0123456789abcdef"), 60)), nil); err != nil {
				return err
			}
			value := &goamqp.Message{Value: map[string]any{"list": []int64{1, 200, -3}}}
			if err := w.Send(ctx, value, nil); err != nil {
				return err
			}
			return w.Close(ctx)
		})
}

func TestRecordProton(t *testing.T) {
	const python = "/usr/bin/python3"
	version, err := exec.Command(python, "-c", "import proton; print('%d.%d.%d' % proton.VERSION)").Output()
	if err != nil {
		t.Fatal(err)
	}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	relay := listen()
	defer relay.Close()
	ready := listen()
	serverAddr := ready.Addr().String()
	ready.Close() // the script listens there itself

	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, filepath.Join("testdata", "record_proton.py"), serverAddr, relay.Addr().String())
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var rec recorder
	client, err := relay.Accept()
	if err != nil {
		t.Fatal(err)
	}
	server, err := net.Dial("tcp", serverAddr)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	pump := func(side string, from, to net.Conn) {
		defer wg.Done()
		buf := make([]byte, 1<<16)
		for {
			n, err := from.Read(buf)
			rec.add(side, buf[:n])
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
			if err != nil {
				to.(*net.TCPConn).CloseWrite()
				return
			}
		}
	}
	wg.Add(2)
	go pump("client", client, server)
	go pump("server", server, client)
	wg.Wait()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	rec.write(t, "proton.txt", fmt.Sprintf("Qpid Proton %s (Debian's python3-qpid-proton), client and server", strings.TrimSpace(string(version))),
		"see testdata/record_proton.py for what they do")
}
