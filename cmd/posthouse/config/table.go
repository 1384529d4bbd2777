package config

import (
	"fmt"
	"sort"
	"strings"
)

// setting is one key: what it is called, what it is for, and how its text becomes a value.
type setting struct {
	key   string
	usage string
	def   string
	set   func(text string) error
	// a list of records: fields names them, add takes one; def and set are unused
	fields []string
	reset  func()
	add    func(record map[string]string) error
}

func (s *setting) isList() bool { return s.add != nil }

// env is the setting's environment variable.
func (s *setting) env() string {
	return "POSTHOUSE_" + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(s.key))
}

// table is all settings of one Config, in the order in which help shows them.
type table struct {
	settings []*setting
	byKey    map[string]*setting
}

func newTable(c *Config) *table {
	t := &table{byKey: map[string]*setting{}}
	t.value("node", "posthouse", "this node's name, unique in its cluster", name(&c.Node))
	t.value("data", "./posthouse-data", "directory of everything durable", text(&c.Data))
	t.value("amqp.listen", "127.0.0.1:5672", "where AMQP clients connect", hostPort(&c.AMQP.Listen))
	t.value("amqp.max-frame-size", "64KiB", "largest frame taken from a peer", size(&c.AMQP.MaxFrameSize))
	t.value("amqp.max-message-size", "100MiB", "largest message taken (captured ones: at most 1MiB)", size(&c.AMQP.MaxMessageSize))
	t.value("amqp.idle-timeout", "60s", "a connection silent for this long is closed", duration(&c.AMQP.IdleTimeout))
	t.value("amqp.link-credit", "1000", "messages that a publisher's link may have unsettled", positive(&c.AMQP.LinkCredit))
	t.value("amqp.max-sessions", "1024", "sessions a connection", positive(&c.AMQP.MaxSessions))
	t.value("amqp.max-links", "8192", "links a session", positive(&c.AMQP.MaxLinks))
	t.value("amqp.anonymous", "true", "let clients in that do not log in", boolean(&c.AMQP.Anonymous))
	t.list("users", []string{"name", "password"}, "who may log in with SASL PLAIN", func() { c.Users = nil }, c.addUser)
	t.value("admin.listen", "127.0.0.1:8672", "where the API and the metrics are served", hostPort(&c.Admin.Listen))
	t.value("cluster.id", "posthouse", "nodes of other clusters are refused", name(&c.Cluster.ID))
	t.value("cluster.bind", "", "host to listen on for the cluster's ports, where it differs from cluster.nodes (e.g. 0.0.0.0)", text(&c.Cluster.Bind))
	t.value("cluster.shards", "3", "groups that the messages are spread over; fixed when the cluster first starts", positive(&c.Cluster.Shards))
	t.list("cluster.nodes", []string{"name", "raft", "router"}, "all nodes, this one too, the same on every node", func() { c.Cluster.Nodes = nil }, c.addNode)
	t.limits("limits.default.", &c.Limits.Default, "100000", "1GiB", "7d", "1000", "drop-oldest", "where a subscription names none: ")
	t.limits("limits.max.", &c.Limits.Max, "10000000", "100GiB", "90d", "10000", "", "the most that a subscription may ask for: ")
	t.list("policies", policyFields, "limits and behaviour by address pattern; the most specific one counts", func() { c.Policy = nil }, c.addPolicy)
	t.value("memory", "1GiB", "bound on what peers can make the node hold", size(&c.Memory))
	t.value("disk.reserve", "64MiB", "ballast, freed when the disk is full so that confirming and deleting still work", size(&c.Disk.Reserve))
	t.value("disk.low", "1GiB", "free space below which publishers of what is kept have less credit", size(&c.Disk.Low))
	t.value("disk.full", "256MiB", "free space below which durable publishes are refused", size(&c.Disk.Full))
	t.value("disk.scrub", "24h", "how often all that is kept is read to find damage, beside once after the start; a node that finds some ends and says where (0s: never)", duration(&c.Disk.Scrub))
	t.value("disk.scrub-rate", "64MiB", "bytes a second that are read for that at most", size(&c.Disk.ScrubRate))
	t.value("log.level", "info", "debug, info, warn or error", oneOf(&c.Log.Level, "debug", "info", "warn", "error"))
	t.value("log.format", "text", "text or json", oneOf(&c.Log.Format, "text", "json"))
	t.value("shutdown-timeout", "10s", "time for clients and disks when the node stops", duration(&c.ShutdownTimeout))
	return t
}

func (t *table) value(key, def, usage string, set func(string) error) {
	t.put(&setting{key: key, def: def, usage: usage, set: set})
}

func (t *table) list(key string, fields []string, usage string, reset func(), add func(map[string]string) error) {
	t.put(&setting{key: key, fields: fields, usage: usage, reset: reset, add: add})
}

func (t *table) limits(prefix string, l *SubscriptionLimits, messages, bytes, age, inFlight, overflow, usage string) {
	t.value(prefix+"max-messages", messages, usage+"messages in a backlog", count(&l.MaxMessages))
	t.value(prefix+"max-bytes", bytes, usage+"bytes in a backlog", size(&l.MaxBytes))
	t.value(prefix+"max-age", age, usage+"age of the oldest message in a backlog", duration(&l.MaxAge))
	t.value(prefix+"max-in-flight", inFlight, usage+"messages delivered and not yet confirmed", count(&l.MaxInFlight))
	if overflow != "" {
		t.value(prefix+"overflow", overflow, usage+"what happens at the limit, drop-oldest or reject", oneOf(&l.Overflow, "drop-oldest", "reject"))
	}
}

func (t *table) put(s *setting) {
	if t.byKey[s.key] != nil {
		panic("setting " + s.key + " is in the table twice")
	}
	t.byKey[s.key] = s
	t.settings = append(t.settings, s)
}

func (t *table) setDefaults() error {
	for _, s := range t.settings {
		if s.isList() {
			continue
		}
		if err := s.set(s.def); err != nil {
			return fmt.Errorf("default of %s: %w", s.key, err)
		}
	}
	return nil
}

// unknown explains a key that is in no setting, with the nearest that is.
func (t *table) unknown(key string) error {
	best, bestDistance := "", len(key)/2+2
	for _, s := range t.settings {
		if d := distance(key, s.key); d < bestDistance {
			best, bestDistance = s.key, d
		}
	}
	if best != "" {
		return fmt.Errorf("%s: there is no such setting; did you mean %s?", key, best)
	}
	return fmt.Errorf("%s: there is no such setting; `posthouse serve --help` lists all", key)
}

// isSection tells whether key is the beginning of other keys.
func (t *table) isSection(key string) bool {
	for _, s := range t.settings {
		if strings.HasPrefix(s.key, key+".") {
			return true
		}
	}
	return false
}

// distance is how many single-character edits turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := diagonal
			if a[i-1] != b[j-1] {
				change++
			}
			diagonal = row[j]
			row[j] = min(change, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

func (t *table) readEnvironment(environ []string) error {
	byEnv := map[string]*setting{}
	for _, s := range t.settings {
		byEnv[s.env()] = s
	}
	sort.Strings(environ)
	for _, e := range environ {
		key, value, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(key, "POSTHOUSE_") || key == "POSTHOUSE_CONFIG" || key == "POSTHOUSE_URL" || key == "POSTHOUSE_API" || strings.HasPrefix(key, "POSTHOUSE_TEST_") {
			continue
		}
		s := byEnv[key]
		if s == nil {
			return fmt.Errorf("environment variable %s: there is no such setting; `posthouse serve --help` lists all", key)
		}
		if err := s.apply(strings.Split(value, ";")); err != nil {
			return fmt.Errorf("environment variable %s: %w", key, err)
		}
	}
	return nil
}

// apply sets a value, or for a list all its records (name=a,raft=...), from text.
func (s *setting) apply(texts []string) error {
	if !s.isList() {
		return s.set(strings.Join(texts, ";"))
	}
	s.reset()
	for _, text := range texts {
		if strings.TrimSpace(text) == "" {
			continue
		}
		record := map[string]string{}
		for _, part := range strings.Split(text, ",") {
			field, value, ok := strings.Cut(strings.TrimSpace(part), "=")
			if !ok {
				return fmt.Errorf("%q is not FIELD=VALUE; write e.g. %s", part, s.example())
			}
			if _, twice := record[field]; twice {
				return fmt.Errorf("%s stands twice in %q", field, text)
			}
			record[field] = value
		}
		if err := s.addChecked(record); err != nil {
			return err
		}
	}
	return nil
}

func (s *setting) addChecked(record map[string]string) error {
	for field := range record {
		if !s.hasField(field) {
			return fmt.Errorf("%q is no field of %s; its fields are %s", field, s.key, strings.Join(s.fields, ", "))
		}
	}
	return s.add(record)
}

func (s *setting) hasField(field string) bool {
	for _, f := range s.fields {
		if f == field {
			return true
		}
	}
	return false
}

func (s *setting) example() string {
	parts := make([]string, 0, len(s.fields))
	for _, f := range s.fields[:min(3, len(s.fields))] {
		parts = append(parts, f+"=...")
	}
	return strings.Join(parts, ",")
}
