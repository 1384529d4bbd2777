// Package compose checks that the containers of this folder are a cluster that works.
package compose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"

	"github.com/posthouse/posthouse/cmd/posthouse/client"
	"github.com/posthouse/posthouse/test/check"
	"github.com/posthouse/posthouse/test/proc"
)

// stack is the compose project of one test.
type stack struct {
	t    *testing.T
	dir  string
	env  []string
	amqp []string
	api  []string
}

// run runs docker-compose and returns what it printed.
func (s *stack) run(args ...string) (string, error) {
	cmd := exec.Command("docker-compose", append([]string{"--project-name", fmt.Sprintf("posthouse-test-%d", os.Getpid())}, args...)...)
	cmd.Dir, cmd.Env = s.dir, s.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s *stack) must(args ...string) {
	s.t.Helper()
	if out, err := s.run(args...); err != nil {
		s.t.Fatalf("docker-compose %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// up copies this folder with a fresh binary beside it, and brings three containers up.
func up(t *testing.T) *stack {
	t.Helper()
	for _, tool := range []string{"docker", "docker-compose"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	if out, err := exec.Command("docker", "info").CombinedOutput(); err != nil {
		t.Skipf("docker's daemon can't be reached: %s", out)
	}
	proc.TakeTurn(t)
	s := &stack{t: t, dir: t.TempDir(), env: append(os.Environ(), fmt.Sprintf("POSTHOUSE_IMAGE=posthouse-test:%d", os.Getpid()))}
	for _, name := range []string{"Dockerfile", "docker-compose.yml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-trimpath", "-o", filepath.Join(s.dir, "posthouse"), "./cmd/posthouse")
	build.Dir, build.Env = proc.Root(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, node := range []string{"A", "B", "C"} {
		amqp, api := proc.FreePort(t), proc.FreePort(t)
		s.env = append(s.env, fmt.Sprintf("AMQP_%s=%d", node, amqp), fmt.Sprintf("API_%s=%d", node, api))
		s.amqp = append(s.amqp, fmt.Sprintf("amqp://127.0.0.1:%d", amqp))
		s.api = append(s.api, fmt.Sprintf("http://127.0.0.1:%d", api))
	}
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := s.run("logs", "--tail", "30")
			t.Log(out)
		}
		s.run("down", "--volumes", "--rmi", "all", "--timeout", "5")
	})
	s.must("up", "--build", "--detach")
	s.waitReady(0, 1, 2)
	return s
}

func (s *stack) waitReady(nodes ...int) {
	s.t.Helper()
	var why error
	proc.Eventually(s.t, 90*time.Second, func() bool {
		for _, i := range nodes {
			resp, err := http.Get(s.api[i] + "/readyz")
			if err != nil {
				why = err
				return false
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				why = errors.New(string(body))
				return false
			}
		}
		return true
	}, func() string { return fmt.Sprintf("not ready: %v", why) })
}

func dial(t *testing.T, url string) *goamqp.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := goamqp.Dial(ctx, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Three containers keep what is published while the subscriber is away, and lose nothing with one of them.
func TestAContainerIsKilled(t *testing.T) {
	s := up(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	sub, err := client.Subscribe(ctx, dial(t, s.amqp[0]), client.Subscription{Address: "orders", Durable: "billing"})
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.Leave(ctx); err != nil {
		t.Fatal(err)
	}
	ledger := check.New()
	owed := ledger.Subscriber("billing", "orders")
	publisher, err := client.NewPublisher(ctx, dial(t, s.amqp[1]), "orders", "", 100)
	if err != nil {
		t.Fatal(err)
	}
	page := ledger.Publisher("p", "orders")
	const messages = 3000
	for i := range messages {
		if i == messages/2 {
			s.must("kill", "c") // a third of the cluster, and perhaps the leader
		}
		n, id := page.Send()
		m := goamqp.NewMessage([]byte("order"))
		m.Header = &goamqp.MessageHeader{Durable: true}
		m.Properties = &goamqp.MessageProperties{MessageID: id}
		err := publisher.Publish(ctx, m, func(o client.Outcome, _ error) {
			page.Answered(n, map[client.Outcome]check.Outcome{client.Accepted: check.Accepted, client.Refused: check.Refused, client.Unknown: check.Unknown}[o])
		})
		if err != nil {
			t.Fatalf("publish %d: %v", i, err)
		}
	}
	publisher.Flush()
	if sub, err = client.Subscribe(ctx, dial(t, s.amqp[0]), client.Subscription{Address: "orders", Durable: "billing"}); err != nil {
		t.Fatal(err)
	}
	for range messages {
		m, err := sub.Receive(ctx, nil)
		if err != nil {
			t.Fatalf("after %d messages: %v", owed.Len(), err)
		}
		owed.Received(check.Delivery{ID: m.Properties.MessageID.(string), Count: m.Header.DeliveryCount, Again: !m.Header.FirstAcquirer})
		if err := sub.AcceptMessage(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	if v := ledger.Verify(); !v.OK() || v.Accepted != messages {
		t.Error(v)
	}
	s.must("start", "c")
	s.waitReady(2)
}
