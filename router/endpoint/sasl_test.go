package endpoint

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/posthouse/posthouse/router/amqp"
)

// wantSASL reads one SASL frame.
func wantSASL[T amqp.SASLBody](tk *talk) T {
	tk.t.Helper()
	synctest.Wait()
	tk.mu.Lock()
	defer tk.mu.Unlock()
	f, rest, ok, err := amqp.NextFrame(tk.in, 512)
	if err != nil || !ok || f.Type != amqp.FrameSASL {
		tk.t.Fatalf("no SASL frame but %x (%v)", tk.in, err)
	}
	body, err := amqp.DecodeSASL(f.Body)
	if err != nil {
		tk.t.Fatal(err)
	}
	x, ok := body.(T)
	if !ok {
		tk.t.Fatalf("got %T", body)
	}
	tk.in = append([]byte(nil), rest...)
	return x
}

func saslFrame(x amqp.SASLBody) []byte { return amqp.AppendSASLFrame(nil, x) }

func check(mechanism, user, password string) (string, error) {
	switch {
	case mechanism == "PLAIN" && user == "alice" && password == "secret":
		return "alice", nil
	case mechanism == "PLAIN" && user == "slow":
		return "", fmt.Errorf("directory: %w", ErrTemporary)
	case mechanism == "ANONYMOUS" || mechanism == "":
		return "nobody", nil
	}
	return "", errors.New("wrong")
}

func TestSASLServer(t *testing.T) {
	plain := func(s string) amqp.SASLBody {
		return &amqp.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte(strings.ReplaceAll(s, "|", "\x00"))}
	}
	for _, c := range []struct {
		name     string
		auth     Authentication
		init     amqp.SASLBody
		code     amqp.SASLCode
		identity string
	}{
		{"anonymous", Authentication{Anonymous: true}, &amqp.SASLInit{Mechanism: "ANONYMOUS"}, amqp.SASLOK, ""},
		{"anonymous with trace", Authentication{Anonymous: true, Check: check}, &amqp.SASLInit{Mechanism: "ANONYMOUS", InitialResponse: []byte("me@host")}, amqp.SASLOK, "nobody"},
		{"anonymous not offered", Authentication{Check: check}, &amqp.SASLInit{Mechanism: "ANONYMOUS"}, amqp.SASLAuth, ""},
		{"plain", Authentication{Check: check}, plain("|alice|secret"), amqp.SASLOK, "alice"},
		{"plain for oneself", Authentication{Check: check}, plain("alice|alice|secret"), amqp.SASLOK, "alice"},
		{"plain for somebody else", Authentication{Check: check}, plain("bob|alice|secret"), amqp.SASLAuth, ""},
		{"plain with a wrong password", Authentication{Check: check}, plain("|alice|guess"), amqp.SASLAuth, ""},
		{"plain malformed", Authentication{Check: check}, plain("alice"), amqp.SASLAuth, ""},
		{"plain with too much", Authentication{Check: check}, plain("|alice|secret|"), amqp.SASLAuth, ""},
		{"plain not offered", Authentication{Anonymous: true}, plain("|alice|secret"), amqp.SASLAuth, ""},
		{"plain not now", Authentication{Check: check}, plain("|slow|x"), amqp.SASLSysTemp, ""},
		{"other mechanism", Authentication{Anonymous: true, Check: check}, &amqp.SASLInit{Mechanism: "GSSAPI"}, amqp.SASLAuth, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			converse(t, Config{Authenticate: &c.auth}, false, &recorder{}, func(tk *talk) {
				tk.bytes(amqp.HeaderSASL.Append(nil))
				tk.wantHeader(amqp.HeaderSASL)
				wantSASL[*amqp.SASLMechanisms](tk)
				tk.bytes(saslFrame(c.init))
				if o := wantSASL[*amqp.SASLOutcome](tk); o.Code != c.code {
					t.Fatalf("code %d", o.Code)
				}
				if c.code != amqp.SASLOK {
					tk.wantEOF()
					if err := tk.wantRun(); !errors.Is(err, ErrAuthentication) {
						t.Errorf("Run: %v", err)
					}
					return
				}
				tk.hello(nil)
				if got := tk.c.Identity(); got != c.identity {
					t.Errorf("identity %q", got)
				}
				if got := tk.c.Mechanism(); got != string(c.init.(*amqp.SASLInit).Mechanism) {
					t.Errorf("mechanism %q", got)
				}
			})
		})
	}
}

func TestSASLMechanismsOffered(t *testing.T) {
	for _, c := range []struct {
		auth Authentication
		want []amqp.Symbol
	}{
		{Authentication{}, []amqp.Symbol{"ANONYMOUS"}},
		{Authentication{Anonymous: true}, []amqp.Symbol{"ANONYMOUS"}},
		{Authentication{Check: check}, []amqp.Symbol{"PLAIN"}},
		{Authentication{Check: check, Anonymous: true}, []amqp.Symbol{"PLAIN", "ANONYMOUS"}},
	} {
		converse(t, Config{Authenticate: &c.auth}, false, &recorder{}, func(tk *talk) {
			tk.bytes(amqp.HeaderSASL.Append(nil))
			tk.wantHeader(amqp.HeaderSASL)
			if m := wantSASL[*amqp.SASLMechanisms](tk); !reflect.DeepEqual(m.Mechanisms, c.want) {
				t.Errorf("offered %v, want %v", m.Mechanisms, c.want)
			}
			_ = tk.nc.Close()
			tk.wantRun()
		})
	}
}

func TestSASLPlainWaitsToBeAsked(t *testing.T) {
	converse(t, Config{Authenticate: &Authentication{Check: check}}, false, &recorder{}, func(tk *talk) {
		// A client that says everything at once, but the response.
		b := amqp.HeaderSASL.Append(nil)
		tk.bytes(append(b, saslFrame(&amqp.SASLInit{Mechanism: "PLAIN"})...))
		tk.wantHeader(amqp.HeaderSASL)
		wantSASL[*amqp.SASLMechanisms](tk)
		wantSASL[*amqp.SASLChallenge](tk)
		b = saslFrame(&amqp.SASLResponse{Response: []byte("\x00alice\x00secret")})
		b = amqp.HeaderAMQP.Append(b)
		tk.bytes(append(b, frameBytes(0, &amqp.Open{ContainerID: "them"}, nil)...))
		if o := wantSASL[*amqp.SASLOutcome](tk); o.Code != amqp.SASLOK {
			t.Errorf("code %d", o.Code)
		}
		tk.wantHeader(amqp.HeaderAMQP)
		next[*amqp.Open](tk)
	})
}

func TestSASLGarbage(t *testing.T) {
	for name, said := range map[string][]byte{
		"AMQP frame":      frameBytes(0, &amqp.Open{ContainerID: "x"}, nil),
		"empty frame":     {0, 0, 0, 8, 2, 1, 0, 0},
		"outcome":         saslFrame(&amqp.SASLOutcome{}),
		"large frame":     {0, 1, 0, 0, 2, 1, 0, 0},
		"no frame at all": []byte("hello there"),
		"garbage inside":  {0, 0, 0, 10, 2, 1, 0, 0, 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			converse(t, Config{Authenticate: &Authentication{Anonymous: true}}, false, &recorder{}, func(tk *talk) {
				tk.bytes(amqp.HeaderSASL.Append(nil))
				tk.wantHeader(amqp.HeaderSASL)
				wantSASL[*amqp.SASLMechanisms](tk)
				tk.bytes(said)
				tk.wantEOF()
				if err := tk.wantRun(); !errors.Is(err, ErrHandshake) {
					t.Errorf("Run: %v", err)
				}
			})
		})
	}
}

func TestSASLClient(t *testing.T) {
	for _, c := range []struct {
		name   string
		cred   Credentials
		offer  []amqp.Symbol
		init   *amqp.SASLInit // nil: it gives up
		code   amqp.SASLCode
		failed error
	}{
		{"anonymous", Credentials{}, []amqp.Symbol{"PLAIN", "ANONYMOUS"}, &amqp.SASLInit{Mechanism: "ANONYMOUS", InitialResponse: []byte{}, Hostname: "host"}, amqp.SASLOK, nil},
		{"plain", Credentials{User: "u", Password: "p"}, []amqp.Symbol{"PLAIN"}, &amqp.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00u\x00p"), Hostname: "host"}, amqp.SASLOK, nil},
		{"wrong", Credentials{User: "u", Password: "p"}, []amqp.Symbol{"PLAIN"}, &amqp.SASLInit{Mechanism: "PLAIN", InitialResponse: []byte("\x00u\x00p"), Hostname: "host"}, amqp.SASLAuth, ErrAuthentication},
		{"not now", Credentials{}, []amqp.Symbol{"ANONYMOUS"}, &amqp.SASLInit{Mechanism: "ANONYMOUS", InitialResponse: []byte{}, Hostname: "host"}, amqp.SASLSysTemp, ErrTemporary},
		{"not offered", Credentials{}, []amqp.Symbol{"PLAIN"}, nil, 0, ErrAuthentication},
	} {
		t.Run(c.name, func(t *testing.T) {
			converse(t, Config{SASL: &c.cred, Hostname: "host"}, true, &recorder{}, func(tk *talk) {
				tk.wantHeader(amqp.HeaderSASL)
				tk.bytes(append(amqp.HeaderSASL.Append(nil), saslFrame(&amqp.SASLMechanisms{Mechanisms: c.offer})...))
				if c.init != nil {
					if got := wantSASL[*amqp.SASLInit](tk); !reflect.DeepEqual(got, c.init) {
						t.Fatalf("got %+v", got)
					}
					tk.bytes(saslFrame(&amqp.SASLOutcome{Code: c.code}))
				}
				if c.failed != nil {
					tk.wantEOF()
					if err := tk.wantRun(); !errors.Is(err, c.failed) {
						t.Errorf("Run: %v", err)
					}
					return
				}
				tk.wantHeader(amqp.HeaderAMQP)
				tk.bytes(amqp.HeaderAMQP.Append(nil))
				next[*amqp.Open](tk)
			})
		})
	}
}
