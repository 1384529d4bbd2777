package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// at is where in a file something stands.
type at struct {
	file         string
	line, column int
}

func (a at) errorf(format string, args ...any) error {
	return fmt.Errorf("%s:%d:%d: %w", a.file, a.line, a.column, fmt.Errorf(format, args...))
}

func place(file string, n ast.Node) at {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		n = m.Values[0]
	}
	if pair, ok := n.(*ast.MappingValueNode); ok {
		n = pair.Key // the pair's own token is the colon
	}
	p := n.GetToken().Position
	return at{file, p.Line, p.Column}
}

// readYAML walks the file's own tree, so that each error can say its line and key.
func (t *table) readYAML(file string, data []byte) error {
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		var syntax *yaml.SyntaxError
		if errors.As(err, &syntax) {
			p := syntax.GetToken().Position
			return at{file, p.Line, p.Column}.errorf("%s", syntax.GetMessage())
		}
		return fmt.Errorf("%s: %w", file, err)
	}
	if len(tree.Docs) > 1 {
		return fmt.Errorf("%s: holds %d documents; a configuration is one", file, len(tree.Docs))
	}
	for _, doc := range tree.Docs {
		if doc.Body == nil {
			continue
		}
		if err := t.readSection(file, "", doc.Body); err != nil {
			return err
		}
	}
	return nil
}

// entries returns the pairs of a map.
func entries(file, key string, n ast.Node) ([]*ast.MappingValueNode, error) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, nil
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, nil
	case *ast.NullNode:
		return nil, nil
	}
	if key == "" {
		return nil, place(file, n).errorf("a configuration is a map of settings, e.g. `node: a`")
	}
	return nil, place(file, n).errorf("%s: is a section of settings, not a value", key)
}

func (t *table) readSection(file, prefix string, n ast.Node) error {
	pairs, err := entries(file, strings.TrimSuffix(prefix, "."), n)
	if err != nil {
		return err
	}
	for _, pair := range pairs {
		key := prefix + pair.Key.GetToken().Value
		where := place(file, pair.Key)
		switch s := t.byKey[key]; {
		case s == nil && t.isSection(key):
			if err := t.readSection(file, key+".", pair.Value); err != nil {
				return err
			}
		case s == nil:
			return where.errorf("%w", t.unknown(key))
		case s.isList():
			if err := s.readList(file, pair.Value); err != nil {
				return err
			}
		default:
			value, ok := scalar(pair.Value)
			if !ok {
				return where.errorf("%s: takes one value, not a %s", key, strings.ToLower(pair.Value.Type().String()))
			}
			if err := s.set(value); err != nil {
				return place(file, pair.Value).errorf("%s: %w", key, err)
			}
		}
	}
	return nil
}

func (s *setting) readList(file string, n ast.Node) error {
	s.reset()
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		if _, null := n.(*ast.NullNode); null {
			return nil
		}
		return place(file, n).errorf("%s: is a list; begin each entry with a dash, e.g. `- {%s: ...}`", s.key, s.fields[0])
	}
	for _, item := range list.Values {
		pairs, err := entries(file, s.key, item)
		if err != nil {
			return err
		}
		record := map[string]string{}
		for _, pair := range pairs {
			field := pair.Key.GetToken().Value
			if !s.hasField(field) {
				return place(file, pair.Key).errorf("%s: %q is no field of it; its fields are %s", s.key, field, strings.Join(s.fields, ", "))
			}
			value, ok := scalar(pair.Value)
			if !ok {
				return place(file, pair.Value).errorf("%s: %s: takes one value", s.key, field)
			}
			record[field] = value
		}
		if err := s.add(record); err != nil {
			return place(file, item).errorf("%s: %w", s.key, err)
		}
	}
	return nil
}

// scalar returns a single value as it is written.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	case *ast.NullNode:
		return "", true
	}
	return "", false
}
