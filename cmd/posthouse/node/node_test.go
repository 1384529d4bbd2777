package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"
	"github.com/spf13/pflag"
	"go.uber.org/goleak"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/cmd/posthouse/client"
	"github.com/posthouse/posthouse/cmd/posthouse/config"
	"github.com/posthouse/posthouse/waypoint/peer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func load(t *testing.T, args ...string) *config.Config {
	t.Helper()
	set := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	flags := config.AddFlags(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load("", nil, flags)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// running is a node of its own, in this process.
type running struct {
	*Node
	t *testing.T
}

func start(t *testing.T, args ...string) *running {
	t.Helper()
	args = append([]string{"--data", t.TempDir(), "--amqp.listen", "127.0.0.1:0", "--admin.listen", "127.0.0.1:0", "--disk.reserve", "1MiB", "--disk.low", "2MiB", "--disk.full", "1MiB"}, args...)
	n, err := Open(context.Background(), load(t, args...), "test", slog.New(slog.DiscardHandler), func(msg string, err error) { panic(fmt.Sprint(msg, ": ", err)) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- n.Run(ctx) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		stop()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if err := n.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	r := &running{n, t}
	deadline := time.Now().Add(30 * time.Second)
	for r.call(http.MethodGet, api.PathReady, "", nil) != http.StatusOK {
		if time.Now().After(deadline) {
			t.Fatalf("not ready: %+v", n.view())
		}
		time.Sleep(10 * time.Millisecond)
	}
	return r
}

// call asks the API and returns the status; out is filled whatever the status is.
func (r *running) call(method, path, body string, out any) int {
	r.t.Helper()
	req, err := http.NewRequest(method, "http://"+r.adminListener.Addr().String()+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	switch out := out.(type) {
	case nil:
	case *bytes.Buffer:
		out.Write(data)
	default:
		if err := json.Unmarshal(data, out); err != nil {
			r.t.Fatalf("%s %s: %v in %s", method, path, err, data)
		}
	}
	return resp.StatusCode
}

func TestSubscriptionsThroughTheAPI(t *testing.T) {
	n := start(t, "--limits.max.max-messages", "5000")
	var s api.Subscription
	if code := n.call("POST", api.PathSubscriptions, `{"name": "billing", "address": "orders", "limits": {"maxMessages": 500, "maxAge": "2d"}}`, &s); code != 200 {
		t.Fatalf("create: %d", code)
	}
	if s.Name != "billing" || s.Address != "orders" || s.State != "active" || s.Limits.MaxMessages != 500 || s.Limits.MaxAge != "2d" || s.Limits.MaxInFlight != 250 || s.Limits.Overflow != "drop-oldest" {
		t.Errorf("created: %+v", s)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := goamqp.Dial(ctx, "amqp://"+n.clients.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p, err := client.NewPublisher(ctx, conn, "orders", "", 100)
	if err != nil {
		t.Fatal(err)
	}
	for range 600 {
		if err := p.Publish(ctx, goamqp.NewMessage([]byte("order")), func(o client.Outcome, err error) {
			if o != client.Accepted {
				t.Errorf("%v: %v", o, err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if code := n.call("GET", api.PathSubscriptions+"/billing", "", &s); code != 200 || s.Messages != 500 || s.GivenUp != 100 || s.Captured != 600 || s.Causes["max-messages"] != 100 || s.Unheard != 100 {
		t.Errorf("show: %d %+v", code, s)
	}
	// Limits act at once, downwards too.
	if code := n.call("PATCH", api.PathSubscriptions+"/billing?owner=anonymous", `{"limits": {"maxMessages": 50}}`, &s); code != 200 || s.Limits.MaxMessages != 50 || s.Limits.MaxAge != "2d" {
		t.Errorf("set: %d %+v", code, s)
	}
	deadline := time.Now().Add(20 * time.Second)
	for n.call("GET", api.PathSubscriptions+"/billing", "", &s); s.Messages != 50; n.call("GET", api.PathSubscriptions+"/billing", "", &s) {
		if time.Now().After(deadline) {
			t.Fatalf("after set: %+v", s)
		}
	}
	var all []api.Subscription
	if code := n.call("GET", api.PathSubscriptions, "", &all); code != 200 || len(all) != 1 || all[0].ID != s.ID {
		t.Errorf("list: %d %+v", code, all)
	}
	if code := n.call("DELETE", api.PathSubscriptions+"/billing", "", &s); code != 200 || s.Name != "billing" {
		t.Errorf("remove: %d %+v", code, s)
	}
	if code := n.call("GET", api.PathSubscriptions+"/billing", "", &s); code != 404 {
		t.Errorf("show after remove: %d", code)
	}
}

func TestBadRequests(t *testing.T) {
	n := start(t, "--limits.max.max-messages", "5000")
	for name, test := range map[string]struct {
		method, path, body string
		status             int
		want               string
	}{
		"no such path":      {"GET", "/v1/queues", "", 404, "there is no such request"},
		"no such name":      {"GET", api.PathSubscriptions + "/nobody", "", 404, "nobody"},
		"set no such name":  {"PATCH", api.PathSubscriptions + "/nobody", `{"limits": {"maxMessages": 5}}`, 404, "nobody"},
		"drop no such name": {"DELETE", api.PathSubscriptions + "/nobody", "", 404, "nobody"},
		"no JSON":           {"POST", api.PathSubscriptions, `name=x`, 400, "body"},
		"unknown field":     {"POST", api.PathSubscriptions, `{"nmae": "x"}`, 400, "nmae"},
		"no address":        {"POST", api.PathSubscriptions, `{"name": "x"}`, 400, "address"},
		"bad age":           {"POST", api.PathSubscriptions, `{"name": "x", "address": "a", "limits": {"maxAge": "5"}}`, 400, "maxAge"},
		"negative":          {"POST", api.PathSubscriptions, `{"name": "x", "address": "a", "limits": {"maxMessages": -5}}`, 400, "maxMessages"},
		"bad overflow":      {"POST", api.PathSubscriptions, `{"name": "x", "address": "a", "limits": {"overflow": "explode"}}`, 400, "overflow"},
		"above the cap":     {"POST", api.PathSubscriptions, `{"name": "x", "address": "a", "limits": {"maxMessages": 5001}}`, 0, "5000"},
		"reject by policy":  {"POST", api.PathSubscriptions, `{"name": "x", "address": "a", "limits": {"overflow": "reject"}}`, 0, "reject"},
	} {
		t.Run(name, func(t *testing.T) {
			var e api.Error
			code := n.call(test.method, test.path, test.body, &e)
			if test.status != 0 && code != test.status || code/100 != 4 {
				t.Errorf("status %d, want %d", code, test.status)
			}
			if !strings.Contains(e.Message, test.want) || e.Condition == "" {
				t.Errorf("%+v does not say %q", e, test.want)
			}
		})
	}
}

func TestViews(t *testing.T) {
	n := start(t, "--node", "solo")
	var node api.Node
	if code := n.call("GET", api.PathNode, "", &node); code != 200 || node.Name != "solo" || !node.Ready || !node.Formed || node.Isolated || node.Version != "test" {
		t.Errorf("node: %+v", node)
	}
	var c api.Cluster
	if code := n.call("GET", api.PathCluster, "", &c); code != 200 || len(c.Nodes) != 1 || len(c.Groups) != 4 || c.Nodes[0].Leads != 4 || c.Groups[0].Name != "meta" || c.Groups[3].Leader != "solo" {
		t.Errorf("cluster: %+v", c)
	}
	var metrics bytes.Buffer
	if code := n.call("GET", api.PathMetrics, "", &metrics); code != 200 {
		t.Fatalf("metrics: %d", code)
	}
	for _, want := range []string{"posthouse_router_published_total", "posthouse_leader_publishes_total", "posthouse_storage_fsync_seconds", "posthouse_raft_leader", "posthouse_router_dropped_total", "posthouse_agent_isolated 0"} {
		if !strings.Contains(metrics.String(), want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

// With users, a password is asked for; without anonymous clients, of everybody.
func TestLogin(t *testing.T) {
	n := start(t, "--users", "name=bob,password=secret", "--amqp.anonymous=false")
	for name, test := range map[string]struct {
		user, password string
		want           bool
	}{"right": {"bob", "secret", true}, "wrong password": {"bob", "sesame", false}, "no such user": {"eve", "secret", false}, "nobody": {"", "", false}} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			o := &goamqp.ConnOptions{}
			if test.user != "" {
				o.SASLType = goamqp.SASLTypePlain(test.user, test.password)
			}
			conn, err := goamqp.Dial(ctx, "amqp://"+n.clients.Addr().String(), o)
			if err == nil {
				conn.Close()
			}
			if (err == nil) != test.want {
				t.Errorf("let in: %t (%v)", err == nil, err)
			}
		})
	}
}

func TestAPortThatIsTaken(t *testing.T) {
	n := start(t)
	cfg := load(t, "--data", t.TempDir(), "--amqp.listen", n.clients.Addr().String(), "--admin.listen", "127.0.0.1:0")
	_, err := Open(context.Background(), cfg, "test", slog.New(slog.DiscardHandler), nil)
	if err == nil || !strings.Contains(err.Error(), "amqp.listen") || !strings.Contains(err.Error(), "is another node running?") {
		t.Errorf("got %v", err)
	}
}

// The most specific pattern comes first, and what a policy does not say is said by the general limits.
func TestPolicy(t *testing.T) {
	cfg := load(t, "--policies", "pattern=#,max-messages=10", "--policies", "pattern=orders/#,max-messages=20", "--policies", "pattern=orders/*/eu,allow-reject=true", "--policies", "pattern=orders/new/eu,default-max-age=1d")
	p, err := policy(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var patterns []string
	for _, a := range p.Addresses {
		patterns = append(patterns, a.Pattern)
	}
	if got := strings.Join(patterns, " "); got != "orders/new/eu orders/*/eu orders/# #" {
		t.Errorf("order: %s", got)
	}
	for address, want := range map[string]uint64{"orders/new/eu": uint64(cfg.Limits.Max.MaxMessages), "orders/x": 20, "x": 10} {
		if got := p.For(address).Caps.MaxMessages; got != want {
			t.Errorf("cap of %s: %d, want %d", address, got, want)
		}
	}
	if a := p.For("orders/old/eu"); !a.AllowReject || a.Defaults.Overflow != peer.OverflowDropOldest {
		t.Errorf("orders/old/eu: %+v", a)
	}
	if a := p.For("orders/new/eu"); a.Defaults.MaxAgeMS != 24*3600*1000 || a.Defaults.MaxMessages != uint64(cfg.Limits.Default.MaxMessages) {
		t.Errorf("orders/new/eu: %+v", a.Defaults)
	}
}

// A node that finds its data damaged says so to who starts it, and tells that from what is only configured wrong.
func TestDamagedDataIsToldFromAMistake(t *testing.T) {
	data := t.TempDir()
	open := func(args ...string) error {
		args = append([]string{"--data", data, "--amqp.listen", "127.0.0.1:0", "--admin.listen", "127.0.0.1:0", "--disk.reserve", "1MiB", "--disk.low", "2MiB", "--disk.full", "1MiB"}, args...)
		n, err := Open(context.Background(), load(t, args...), "test", slog.New(slog.DiscardHandler), func(msg string, err error) { panic(fmt.Sprint(msg, ": ", err)) })
		if err == nil {
			err = n.Close()
		}
		return err
	}
	if err := open("--node", "a"); err != nil {
		t.Fatal(err)
	}
	if err := open("--node", "b"); err == nil || Damaged(err) {
		t.Errorf("the data of another node: %v", err)
	}
	if err := os.WriteFile(filepath.Join(data, "marks"), []byte("?"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open("--node", "a"); !Damaged(err) {
		t.Errorf("damaged marks: %v", err)
	}
}
