package endpoint

import (
	"bufio"
	"bytes"
	"context"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/posthouse/posthouse/router/amqp"
)

// protonPython is the Python that Debian's python3-qpid-proton is for.
const protonPython = "/usr/bin/python3"

func needProton(t *testing.T) {
	t.Helper()
	if err := exec.Command(protonPython, "-c", "import proton").Run(); err != nil {
		t.Skipf("python3-qpid-proton is not installed: %v", err)
	}
}

func TestProtonIsOurClient(t *testing.T) {
	needProton(t)
	for _, name := range []string{"roundtrip", "outcomes", "large", "presettled", "drain", "refused", "heartbeat", "flood", "plain"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBroker()
			b.refuse = func(l Link) *amqp.Error {
				if l.Name() == "unwanted" {
					return amqp.Errorf(amqp.ErrCondNotFound, "no such address")
				}
				return nil
			}
			cfg := testConfig()
			cfg.Authenticate = &Authentication{Anonymous: true, Check: check}
			cfg.Budget = NewBudget(1 << 30)
			address := serve(t, cfg, func() Handler { return b })
			out, err := exec.CommandContext(within(t), protonPython, "testdata/proton_client.py", address, name).CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != "ok" {
				t.Fatalf("%v: %s", err, out)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			for _, d := range b.detach {
				if d.Err != nil {
					t.Errorf("detached: %v", d.Err)
				}
			}
			for _, err := range b.ended {
				if err != nil {
					t.Errorf("ended: %v", err)
				}
			}
			if n := cfg.Budget.Used(); n != 0 {
				t.Errorf("%d bytes left in the budget", n)
			}
		})
	}
}

// protonTester sends messages to Proton and wants them back.
type protonTester struct {
	Unhandled
	t        *testing.T
	bodies   [][]byte
	sent     int
	accepted int
	got      int
	done     chan struct{}
}

func (x *protonTester) Opened(c *Conn, _ *amqp.Open) {
	s, err := c.Begin()
	if err != nil {
		x.t.Error(err)
		return
	}
	if _, err := s.NewReceiver(amqp.Attach{Name: "in", SndSettleMode: amqp.SenderMixed, Source: &amqp.Source{Address: "back"}, Target: &amqp.Target{}}, 10, nil); err != nil {
		x.t.Error(err)
	}
	if _, err := s.NewSender(amqp.Attach{Name: "out", SndSettleMode: amqp.SenderMixed, Source: &amqp.Source{}, Target: &amqp.Target{Address: "there"}}, nil); err != nil {
		x.t.Error(err)
	}
}

func (x *protonTester) Credit(s *Sender) {
	for x.sent < len(x.bodies) {
		if _, err := s.Send(&Outgoing{Prefix: encodedBody(x.bodies[x.sent])}, s.Conn().Batch()); err != nil {
			return
		}
		x.sent++
	}
}

func encodedBody(b []byte) []byte { return (&amqp.Message{Data: [][]byte{b}}).Append(nil) }

func (x *protonTester) Delivered(r *Receiver, d *Delivery) {
	m, err := amqp.DecodeMessage(d.Message.Bytes())
	if err != nil {
		x.t.Error(err)
		return
	}
	if body, ok := m.Value.([]byte); !ok || !bytes.Equal(body, x.bodies[x.got]) { // Proton makes a value of it
		x.t.Errorf("message %d differs: %T of %d bytes", x.got, m.Value, len(body))
	}
	r.Settle(d.Ref, amqp.Accepted{}, r.Conn().Batch())
	r.Grant(1, r.Conn().Batch())
	x.got++
	x.check()
}

func (x *protonTester) Outcome(s *Sender, o *Outcome) {
	if _, ok := o.State.(amqp.Accepted); !ok || !o.Final {
		x.t.Errorf("outcome %+v", *o)
	}
	x.accepted++
	x.check()
}

func (x *protonTester) check() {
	if x.got == len(x.bodies) && x.accepted == len(x.bodies) {
		close(x.done)
	}
}

func TestProtonIsOurServer(t *testing.T) {
	needProton(t)
	for _, cred := range []*Credentials{nil, {}} {
		cmd := exec.CommandContext(within(t), protonPython, "testdata/proton_server.py")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var complaints bytes.Buffer
		cmd.Stderr = &complaints
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		port, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatalf("%v: %s", err, complaints.String())
		}
		nc, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strings.TrimSpace(port)))
		if err != nil {
			t.Fatal(err)
		}
		x := &protonTester{t: t, done: make(chan struct{})}
		for i := range 200 {
			x.bodies = append(x.bodies, bytes.Repeat([]byte{byte(i)}, i*i*3))
		}
		cfg := testConfig()
		cfg.SASL = cred
		c := Client(nc, cfg, x)
		ran := make(chan error, 1)
		go func() { ran <- c.Run(context.Background()) }()
		select {
		case <-x.done:
		case err := <-ran:
			t.Fatalf("Run: %v; %s", err, complaints.String())
		case <-within(t).Done():
			t.Errorf("%d came back, %d accepted", x.got, x.accepted)
		}
		c.Close(nil)
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if complaints.Len() > 0 {
			t.Error(complaints.String())
		}
	}
}
