package cli

import (
	"embed"
	"fmt"
	"io"
	"net/url"
	"sort"
	"strings"
	"text/template"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
	"github.com/posthouse/posthouse/cmd/posthouse/client"
)

//go:embed snippets
var snippets embed.FS

var snippetFiles = map[string]string{"go": "go.tmpl", "jms": "jms.tmpl", "python": "python.tmpl", "rhea": "rhea.tmpl"}

// snippet is what the templates are filled with.
type snippet struct {
	URL, Host, Port, User, Password string
	Address, Name                   string
	Properties                      []property // limits as link properties
}

type property struct {
	Key    string
	Number int64
	Text   string // if not empty, in place of Number
	Flag   string // the same limit as a flag of the command line
}

func printSnippet(w io.Writer, language, rawURL, address, name string, limits api.Limits) error {
	file, ok := snippetFiles[language]
	if !ok {
		var known []string
		for k := range snippetFiles {
			known = append(known, k)
		}
		sort.Strings(known)
		return usage("--print: %q is not one of %s", language, strings.Join(known, ", "))
	}
	if name == "" {
		return usage("--print shows how to subscribe durably: add --durable NAME")
	}
	u, err := url.Parse(rawURL)
	if err != nil || u.Hostname() == "" {
		return usage("--url: %q is not amqp://HOST:PORT", rawURL)
	}
	s := snippet{URL: rawURL, Host: u.Hostname(), Port: u.Port(), Address: address, Name: name}
	if s.Port == "" {
		s.Port = "5672"
	}
	if u.User != nil {
		s.User = u.User.Username()
		s.Password, _ = u.User.Password()
	}
	if s.Properties, err = limitProperties(limits); err != nil {
		return err
	}
	t, err := template.New(file).Funcs(template.FuncMap{"quote": func(s string) string { return fmt.Sprintf("%q", s) }}).ParseFS(snippets, "snippets/"+file)
	if err != nil {
		return err
	}
	return t.Execute(w, s)
}

func limitProperties(l api.Limits) ([]property, error) {
	values, err := linkLimits(l)
	if err != nil {
		return nil, err
	}
	var out []property
	for k, v := range values {
		p := property{Key: k}
		switch v := v.(type) {
		case int64:
			p.Number = v
		case string:
			p.Text = v
		}
		p.Flag = fmt.Sprintf("--%s %v", strings.TrimPrefix(k, "posthouse:"), v)
		if k == client.PropMaxAge {
			p.Flag += "ms"
		}
		out = append(out, p)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Key < out[j].Key })
	return out, nil
}
