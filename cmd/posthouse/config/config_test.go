package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func load(t *testing.T, text string, environ []string, args ...string) (*Config, error) {
	t.Helper()
	path := ""
	if text != "" {
		path = filepath.Join(t.TempDir(), "node.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	flags := AddFlags(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path, environ, flags)
	if err != nil && path != "" {
		err = &trimmed{strings.ReplaceAll(err.Error(), path, "node.yaml")}
	}
	return c, err
}

type trimmed struct{ s string }

func (e *trimmed) Error() string { return e.s }

const three = `
node: b
cluster:
  id: orders
  nodes:
    - {name: a, raft: "10.0.0.1:7100", router: "10.0.0.1:7101"}
    - {name: b, raft: "10.0.0.2:7100", router: "10.0.0.2:7101"}
    - {name: c, raft: "10.0.0.3:7100", router: "10.0.0.3:7101"}
policies:
  - pattern: orders/#
    max-age: 14d
    allow-reject: true
`

func TestDefaultsAloneAreANode(t *testing.T) {
	c, err := load(t, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.AMQP.Listen != "127.0.0.1:5672" || c.Admin.Listen != "127.0.0.1:8672" || c.Data != "./posthouse-data" || !c.AMQP.Anonymous {
		t.Errorf("defaults: %+v", c)
	}
	if _, ok := c.Self(); ok {
		t.Error("a node without cluster.nodes is in a cluster")
	}
	if c.Limits.Default.MaxAge != 7*24*time.Hour || c.Limits.Default.MaxBytes != 1<<30 || c.Limits.Default.Overflow != "drop-oldest" {
		t.Errorf("default limits: %+v", c.Limits.Default)
	}
}

func TestThreeNodeFile(t *testing.T) {
	c, err := load(t, three, nil)
	if err != nil {
		t.Fatal(err)
	}
	self, ok := c.Self()
	if !ok || self.Raft != "10.0.0.2:7100" || len(c.Cluster.Nodes) != 3 || c.Cluster.ID != "orders" {
		t.Errorf("cluster: %+v", c.Cluster)
	}
	if len(c.Policy) != 1 || c.Policy[0].Max.MaxAge != 14*24*time.Hour || !c.Policy[0].OverflowReject {
		t.Errorf("policies: %+v", c.Policy)
	}
}

// A later source wins: default, file, environment, flag.
func TestSourcesInOrder(t *testing.T) {
	c, err := load(t, three+"\nlog: {level: warn, format: json}\namqp:\n  idle-timeout: 5s\n",
		[]string{"POSTHOUSE_LOG_LEVEL=error", "POSTHOUSE_AMQP_IDLE_TIMEOUT=7s", "PATH=/bin"}, "--amqp.idle-timeout", "9s")
	if err != nil {
		t.Fatal(err)
	}
	if c.Log.Format != "json" || c.Log.Level != "error" || c.AMQP.IdleTimeout != 9*time.Second {
		t.Errorf("got %+v %+v", c.Log, c.AMQP)
	}
}

func TestListsFromEnvironmentAndFlags(t *testing.T) {
	nodes := "name=a,raft=h:1,router=h:2;name=b,raft=h:3,router=h:4"
	c, err := load(t, "", []string{"POSTHOUSE_NODE=a", "POSTHOUSE_CLUSTER_NODES=" + nodes})
	if err != nil || len(c.Cluster.Nodes) != 2 {
		t.Fatalf("environment: %v %+v", err, c)
	}
	c, err = load(t, "", nil, "--node=b", "--cluster.nodes", "name=a,raft=h:1,router=h:2", "--cluster.nodes", "name=b,raft=h:3,router=h:4")
	if err != nil || len(c.Cluster.Nodes) != 2 || c.Cluster.Nodes[1].Router != "h:4" {
		t.Fatalf("flags: %v %+v", err, c)
	}
}

func TestBadSettingsSayWhereWhatAndWhatInstead(t *testing.T) {
	for name, test := range map[string]struct {
		text    string
		environ []string
		args    []string
		want    []string
	}{
		"unknown key":       {text: "node: a\namqp:\n  lisen: 127.0.0.1:1\n", want: []string{"node.yaml:3:3:", "amqp.lisen", "did you mean amqp.listen?"}},
		"unknown section":   {text: "qqqqqqqqqqqqqqqqqqq: 1\n", want: []string{"node.yaml:1:1:", "no such setting"}},
		"bad duration":      {text: "amqp:\n  idle-timeout: 60\n", want: []string{"node.yaml:2:17:", "amqp.idle-timeout", `"60" is not a duration`, "30s"}},
		"bad size":          {text: "memory: much\n", want: []string{"node.yaml:1:9:", "memory", "not a size", "512MiB"}},
		"list for a value":  {text: "memory: [1, 2]\n", want: []string{"node.yaml:1:1:", "memory: takes one value"}},
		"value for section": {text: "amqp: yes\n", want: []string{"node.yaml:1:7:", "amqp: is a section"}},
		"duplicate id":      {text: strings.Replace(three, "name: c", "name: a", 1), want: []string{"node.yaml:8:7:", `the name "a" stands twice`}},
		"duplicate address": {text: strings.Replace(three, "10.0.0.3:7100", "10.0.0.1:7100", 1), want: []string{"10.0.0.1:7100 stands twice"}},
		"not a member":      {text: strings.Replace(three, "node: b", "node: d", 1), want: []string{`"d" is not in cluster.nodes (a, b, c)`}},
		"unknown field":     {text: strings.Replace(three, "raft: \"10.0.0.1", "rift: \"10.0.0.1", 1), want: []string{"node.yaml:6:17:", `"rift" is no field`, "name, raft, router"}},
		"missing field":     {text: "cluster:\n  nodes:\n    - {name: a}\n", want: []string{"node.yaml:3:7:", "cluster.nodes", "is missing"}},
		"same key twice":    {text: "node: a\nnode: b\n", want: []string{"node.yaml:2:1:", "node"}},
		"broken syntax":     {text: "node: [a\n", want: []string{"node.yaml:1:"}},
		"bad pattern":       {text: "policies:\n  - pattern: a/#/b\n", want: []string{"node.yaml:2:5:", "# stands only at the end"}},
		"bad variable":      {environ: []string{"POSTHOUSE_NODDE=a"}, want: []string{"environment variable POSTHOUSE_NODDE", "no such setting"}},
		"bad variable text": {environ: []string{"POSTHOUSE_MEMORY=-1"}, want: []string{"environment variable POSTHOUSE_MEMORY", "not a size"}},
		"bad flag":          {args: []string{"--amqp.listen=5672"}, want: []string{"--amqp.listen", "not HOST:PORT"}},
		"bad flag record":   {args: []string{"--cluster.nodes=a"}, want: []string{"--cluster.nodes", "not FIELD=VALUE"}},
		"small frames":      {text: "amqp: {max-frame-size: 100}\n", want: []string{"amqp.max-frame-size", "512"}},
		"marks crossed":     {text: "disk: {low: 1MiB, full: 2MiB}\n", want: []string{"disk.full", "above disk.low"}},
		"reserved user":     {args: []string{"--users=name=anonymous,password=x"}, want: []string{"--users", "take another"}},
		"nobody can log in": {text: "amqp: {anonymous: false}\n", want: []string{"users", "nobody could log in"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, test.text, test.environ, test.args...)
			if err == nil {
				t.Fatal("was taken")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestFormatSize(t *testing.T) {
	for want, n := range map[string]int64{"0B": 0, "64KiB": 65536, "1.5GiB": 3 << 29, "1TiB": 1 << 40} {
		if got := FormatSize(n); got != want {
			t.Errorf("FormatSize(%d) = %q, want %q", n, got, want)
		}
	}
}
