package config

import (
	"fmt"
	"strings"
)

func (c *Config) addUser(r map[string]string) error {
	if r["name"] == "" || r["password"] == "" {
		return fmt.Errorf("a user needs a name and a password")
	}
	if r["name"] == "anonymous" {
		return fmt.Errorf("the name \"anonymous\" is that of clients that have not logged in; take another")
	}
	for _, u := range c.Users {
		if u.Name == r["name"] {
			return fmt.Errorf("the name %q stands twice", u.Name)
		}
	}
	c.Users = append(c.Users, User{Name: r["name"], Password: r["password"]})
	return nil
}

func (c *Config) addNode(r map[string]string) error {
	var n Node
	for field, set := range map[string]func(string) error{"name": name(&n.Name), "raft": hostPort(&n.Raft), "router": hostPort(&n.Router)} {
		value, ok := r[field]
		if !ok {
			return fmt.Errorf("%s is missing; write e.g. name=a,raft=10.0.0.1:7100,router=10.0.0.1:7101", field)
		}
		if err := set(value); err != nil {
			return fmt.Errorf("%s: %w", field, err)
		}
	}
	for _, other := range c.Cluster.Nodes {
		if other.Name == n.Name {
			return fmt.Errorf("the name %q stands twice; names are unique in a cluster", n.Name)
		}
	}
	c.Cluster.Nodes = append(c.Cluster.Nodes, n)
	return nil
}

var policyFields = []string{
	"pattern", "max-messages", "max-bytes", "max-age", "max-in-flight",
	"default-max-messages", "default-max-bytes", "default-max-age", "default-max-in-flight", "default-overflow",
	"allow-reject", "isolated", "unrouted",
}

func (c *Config) addPolicy(r map[string]string) error {
	var p Policy
	setters := map[string]func(string) error{
		"pattern": pattern(&p.Pattern), "max-messages": count(&p.Max.MaxMessages), "max-bytes": size(&p.Max.MaxBytes),
		"max-age": duration(&p.Max.MaxAge), "max-in-flight": count(&p.Max.MaxInFlight),
		"default-max-messages": count(&p.Default.MaxMessages), "default-max-bytes": size(&p.Default.MaxBytes),
		"default-max-age": duration(&p.Default.MaxAge), "default-max-in-flight": count(&p.Default.MaxInFlight),
		"default-overflow": oneOf(&p.Default.Overflow, "drop-oldest", "reject"), "allow-reject": boolean(&p.OverflowReject),
		"isolated": oneOf(&p.Isolated, "direct", "refuse"), "unrouted": oneOf(&p.Unrouted, "accept", "release"),
	}
	if _, ok := r["pattern"]; !ok {
		return fmt.Errorf("pattern is missing; write e.g. pattern=orders/#")
	}
	for _, field := range policyFields {
		if value, ok := r[field]; ok {
			if err := setters[field](value); err != nil {
				return fmt.Errorf("%s: %w", field, err)
			}
		}
	}
	for _, other := range c.Policy {
		if other.Pattern == p.Pattern {
			return fmt.Errorf("the pattern %q stands twice; put all its fields in one entry", p.Pattern)
		}
	}
	c.Policy = append(c.Policy, p)
	return nil
}

// pattern is a path of words between '.' or '/', where * stands for one word and # (at the end) for any number.
func pattern(to *string) func(string) error {
	return func(s string) error {
		words := strings.FieldsFunc(s, func(r rune) bool { return r == '.' || r == '/' })
		if len(words) == 0 {
			return fmt.Errorf("%q is not a pattern; write an address, with * for one word and # at the end for any number", s)
		}
		for i, w := range words {
			if w != "*" && w != "#" && strings.ContainsAny(w, "*#") {
				return fmt.Errorf("%q: %q mixes a wildcard with text; * and # stand for whole words", s, w)
			}
			if w == "#" && i != len(words)-1 {
				return fmt.Errorf("%q: # stands only at the end", s)
			}
		}
		*to = s
		return nil
	}
}
