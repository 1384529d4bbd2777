package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/cmd/posthouse/client"
)

func run(args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	root := New(&cobra.Command{Use: "serve", RunE: func(*cobra.Command, []string) error { return nil }}, &cobra.Command{Use: "demo", Run: func(*cobra.Command, []string) {}})
	root.SetOut(&out)
	root.SetErr(&errs)
	code = Main(context.Background(), root, args, &errs)
	return code, out.String(), errs.String()
}

// Every command has a help text with an example, and names its flags.
func TestEveryCommandHasHelpWithExamples(t *testing.T) {
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		if c.Short == "" {
			t.Errorf("%s has no short help", c.CommandPath())
		}
		if c.Runnable() && c.Example == "" && c.Name() != "help" && c.Parent() != nil && c.Parent().Name() != "completion" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			visit(sub)
		}
	}
	filled := func(use string) *cobra.Command {
		return &cobra.Command{Use: use, Short: use, Example: use, Run: func(*cobra.Command, []string) {}}
	}
	visit(New(filled("serve"), filled("demo")))
}

func TestBadCommandLinesAreUsageErrors(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"unknown command":    {[]string{"sbu", "orders"}, "unknown command"},
		"unknown in group":   {[]string{"cluster", "statsu"}, "did you mean status?"},
		"unknown flag":       {[]string{"sub", "orders", "--durabel", "x"}, "--durabel"},
		"no address":         {[]string{"pub"}, "accepts"},
		"nothing to publish": {[]string{"pub", "orders"}, "BODY, --size, --file or --lines"},
		"two bodies":         {[]string{"pub", "orders", "x", "--size", "1KiB"}, "in one way"},
		"bad output":         {[]string{"version", "--output", "xml"}, "neither text nor json"},
		"bad size":           {[]string{"pub", "orders", "--size", "big"}, "not a size"},
		"bad limit":          {[]string{"sub", "orders", "--durable", "x", "--max-messages", "-5"}, "--max-messages"},
		"zero limit":         {[]string{"sub", "orders", "--durable", "x", "--max-messages", "0"}, "--max-messages"},
		"bad age":            {[]string{"sub", "orders", "--durable", "x", "--max-age", "12"}, "--max-age"},
		"bad overflow":       {[]string{"sub", "orders", "--durable", "x", "--overflow", "drop"}, "--overflow"},
		"limit not durable":  {[]string{"sub", "orders", "--max-messages", "5"}, "add --durable NAME"},
		"snippet language":   {[]string{"sub", "orders", "--durable", "x", "--print", "cobol"}, "go, jms, python, rhea"},
		"nothing to set":     {[]string{"subscription", "set", "x"}, "nothing to change"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := run(test.args...)
			if code != ExitUsage || !strings.Contains(stderr, test.want) {
				t.Errorf("exit %d, %q; want %d and %q", code, stderr, ExitUsage, test.want)
			}
		})
	}
}

func TestSnippets(t *testing.T) {
	for _, language := range []string{"go", "jms", "python", "rhea"} {
		t.Run(language, func(t *testing.T) {
			code, out, stderr := run("sub", "orders", "--durable", "billing", "--max-messages", "500", "--max-age", "1d", "--overflow", "reject",
				"--url", "amqp://bob:secret@10.0.0.1:5673", "--print", language)
			if code != 0 {
				t.Fatal(stderr)
			}
			for _, want := range []string{`"orders"`, `"billing"`, "500", "86400000", "10.0.0.1"} {
				if !strings.Contains(out, want) {
					t.Errorf("%s is not in:\n%s", want, out)
				}
			}
			if language != "jms" && !strings.Contains(out, "posthouse:subscription") { // JMS can't say it
				t.Errorf("the subscription would not have the name that was given:\n%s", out)
			}
			path := filepath.Join(t.TempDir(), "snippet")
			if err := os.WriteFile(path, []byte(out), 0o600); err != nil {
				t.Fatal(err)
			}
			switch language {
			case "go":
				if _, err := parser.ParseFile(token.NewFileSet(), "snippet.go", out, 0); err != nil {
					t.Errorf("does not parse: %v", err)
				}
			case "python":
				if _, err := exec.LookPath("python3"); err != nil {
					t.Skip("python3 is not installed")
				}
				if msg, err := exec.Command("python3", "-c", "import ast,sys; ast.parse(open(sys.argv[1]).read())", path).CombinedOutput(); err != nil {
					t.Errorf("does not parse: %s", msg)
				}
			}
		})
	}
}

// A small API: what is asked of it and what it answers.
func fakeAPI(t *testing.T, answers map[string]any) (string, *[]string) {
	t.Helper()
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := r.Method + " " + r.URL.RequestURI()
		asked = append(asked, key)
		answer, ok := answers[key]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			answer = api.Error{Condition: "amqp:not-found", Message: "no subscription of that name"}
		}
		json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(s.Close)
	return s.URL, &asked
}

func TestSubscriptionCommands(t *testing.T) {
	s := api.Subscription{ID: 7, Name: "billing", Owner: "anonymous", Address: "orders", State: "active", Messages: 123456, Bytes: 3 << 20,
		Captured: 200000, Confirmed: 76000, GivenUp: 544, Causes: map[string]uint64{"max-messages": 544}, Limits: api.Limits{MaxMessages: 200000, MaxAge: "7d"}}
	passed, open := s, s
	passed.Isolated = &api.Isolated{AtMost: 1200, Unheard: 200}
	open.Isolated = &api.Isolated{AtMost: 1200, Unknown: 1}
	url, asked := fakeAPI(t, map[string]any{
		"GET /v1/subscriptions":                      []api.Subscription{s, passed, open},
		"GET /v1/subscriptions/a%2Fb?owner=bob":      s,
		"GET /v1/subscriptions/passed":               passed,
		"GET /v1/subscriptions/open":                 open,
		"PATCH /v1/subscriptions/billing":            s,
		"POST /v1/subscriptions":                     s,
		"DELETE /v1/subscriptions/billing?owner=bob": s,
	})
	for name, test := range map[string]struct {
		args []string
		code int
		want []string
	}{
		"ls":        {[]string{"ls"}, 0, []string{"NAME     OWNER      ADDRESS", "billing  anonymous  orders", "123_456", "3MiB", "544  ", "544 + at most 1_200  ", "544 + unknown  "}},
		"show":      {[]string{"show", "a/b", "--owner", "bob"}, 0, []string{"200_000 = confirmed 76_000 + given up 544 + backlog 123_456", "max-messages: 544"}},
		"passed by": {[]string{"show", "passed"}, 0, []string{"at most 1_200 messages, at nodes that were cut off when it was made; 200 not yet heard of"}},
		"unknown":   {[]string{"show", "open"}, 0, []string{"at most 1_200 messages", "; how many at 1 node more is not known yet"}},
		"set":       {[]string{"set", "billing", "--max-messages", "5"}, 0, []string{"billing on orders"}},
		"create":    {[]string{"create", "billing", "orders", "--max-bytes", "1GiB"}, 0, []string{"billing on orders"}},
		"rm":        {[]string{"rm", "billing", "--owner", "bob"}, 0, []string{"removed billing on orders; its backlog was 123_456 messages"}},
		"missing":   {[]string{"show", "nobody"}, ExitFailed, []string{"no subscription of that name"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, stderr := run(append([]string{"subscription", "--api", url}, test.args...)...)
			if code != test.code {
				t.Fatalf("exit %d: %s", code, stderr)
			}
			for _, want := range test.want {
				if !strings.Contains(out+stderr, want) {
					t.Errorf("%q is not in:\n%s%s", want, out, stderr)
				}
			}
		})
	}
	if len(*asked) != 8 {
		t.Errorf("asked %v", *asked)
	}
	code, out, _ := run("subscription", "ls", "--output", "json", "--api", url)
	var all []api.Subscription
	if code != 0 || json.Unmarshal([]byte(out), &all) != nil || len(all) != 3 || all[0].ID != 7 || *all[2].Isolated != *open.Isolated {
		t.Errorf("json: %d %s", code, out)
	}
}

func TestClusterStatusFailsWithoutALeader(t *testing.T) {
	c := api.Cluster{ID: "c", Node: "a", Nodes: []api.Member{{Name: "a", Connected: true, Live: true}, {Name: "b"}},
		Groups: []api.Group{{ID: 0, Name: "meta", Leader: "a"}, {ID: 1, Name: "shard 1", Replicas: []api.Replica{{Node: "a", Voter: true, Live: true, Lag: 3}, {Node: "b"}}}}}
	url, _ := fakeAPI(t, map[string]any{"GET /v1/cluster": c})
	code, out, stderr := run("cluster", "status", "--api", url)
	if code != ExitFailed || !strings.Contains(stderr, "shard 1 has no leader") || !strings.Contains(out, "a (3) b (down, catching up)") {
		t.Errorf("exit %d\n%s%s", code, out, stderr)
	}
}

func TestNoNodeThere(t *testing.T) {
	code, _, stderr := run("subscription", "ls", "--api", "http://127.0.0.1:1")
	if code != ExitFailed || !strings.Contains(stderr, "is it running?") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	code, _, stderr = run("pub", "orders", "x", "--url", "amqp://127.0.0.1:1")
	if code != ExitFailed || !strings.Contains(stderr, "connect to amqp://127.0.0.1:1") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1_000", 1234567: "1_234_567"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %s", n, got)
		}
	}
}

func TestGapsArePrinted(t *testing.T) {
	for want, g := range map[string]client.Gap{
		"-- 1_500 messages before this one were given up: max-age\n": {Messages: 1500, Causes: map[string]uint64{"max-age": 1500}},
		"-- 2 messages before this one were given up: max-age\n-- at most 3 messages have passed the subscription by, at nodes that were cut off when it was made\n": {
			Messages: 5, Causes: map[string]uint64{"max-age": 2, "isolated": 3}},
		"-- how many messages have passed it by at 1 node, cut off as well, is not known yet\n": {IsolatedUnknown: 1},
	} {
		var b strings.Builder
		if printGap(&b, &g); b.String() != want {
			t.Errorf("%+v is printed as %q, want %q", g, b.String(), want)
		}
	}
}
