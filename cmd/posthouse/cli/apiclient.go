package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/posthouse/posthouse/cmd/posthouse/api"
)

// call asks the admin API. in and out may be nil.
func (c *common) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.api+path, body)
	if err != nil {
		return usage("--api: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask the node at %s: %w (is it running? --api or $POSTHOUSE_API names another)", c.api, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.api, err)
	}
	if resp.StatusCode/100 != 2 {
		e := &api.Error{}
		if json.Unmarshal(data, e) != nil || e.Message == "" {
			return fmt.Errorf("%s: %s", c.api+path, resp.Status)
		}
		return e
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("the answer of %s is no JSON of this version: %w", c.api+path, err)
	}
	return nil
}

// subscriptionPath is a subscription's path; owner may be empty for the only subscription of that name.
func subscriptionPath(name, owner string) string {
	p := api.PathSubscriptions + "/" + url.PathEscape(name)
	if owner != "" {
		p += "?owner=" + url.QueryEscape(owner)
	}
	return p
}
