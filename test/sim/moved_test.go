package sim

import (
	"errors"
	"strings"
	"testing"

	"github.com/posthouse/posthouse/storage"
)

// What operators are told to do about damage works: without its state directory a node is filled by the others; without its log
// directory, in which its membership is, it refuses and names the whole data directory.
func TestDirectoriesMovedAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := Start(t, Options{Tune: small})
		l := c.StartLoad(1, "l", 2000)
		l.AwaitMore(100)
		c.Down("c")
		c.Node("c").FS.Delete(t, "data/state")
		c.Up("c")
		l.AwaitMore(10)
		l.Stop()
		c.Settle(1)
		if err := c.Node("c").Group(1).Err(); err != nil {
			t.Errorf("without its state c takes no part: %v", err)
		}
		c.Check(1, l)
		c.Down("c")
		c.Node("c").FS.Delete(t, "data/log")
		var damage *storage.CorruptError
		if err := c.TryUp("c"); !errors.As(err, &damage) || !strings.Contains(damage.Remedy, "whole data directory") {
			t.Errorf("without its log c starts, or does not say what to do: %v", err)
		}
	})
}
