package proc

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"
)

// echo answers each line with itself.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for s := bufio.NewScanner(c); s.Scan(); {
					fmt.Fprintln(c, s.Text())
				}
			}()
		}
	}()
	return l.Addr().String()
}

// say sends a line and waits for its echo for at most that long.
func say(c net.Conn, line string, wait time.Duration) error {
	if _, err := fmt.Fprintln(c, line); err != nil {
		return err
	}
	return hear(c, line, wait)
}

func hear(c net.Conn, line string, wait time.Duration) error {
	c.SetReadDeadline(time.Now().Add(wait))
	buffer := make([]byte, len(line)+1)
	n, err := c.Read(buffer)
	if err != nil {
		return err
	}
	if string(buffer[:n]) != line+"\n" {
		return fmt.Errorf("heard %q", buffer[:n])
	}
	return nil
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestProxyForwardsCutsAndHeals(t *testing.T) {
	p := NewProxy(t, echo(t))
	c := dial(t, p.Address())
	if err := say(c, "one", 5*time.Second); err != nil {
		t.Fatal(err)
	}
	p.Cut()
	if err := say(c, "two", 5*time.Second); err == nil {
		t.Error("a cut connection answered")
	}
	if err := say(dial(t, p.Address()), "three", 5*time.Second); err == nil {
		t.Error("a refused connection answered")
	}
	p.Heal()
	if err := say(dial(t, p.Address()), "four", 5*time.Second); err != nil {
		t.Errorf("after healing: %v", err)
	}
}

func TestProxySilenceHoldsAndLosesNothing(t *testing.T) {
	for _, way := range []struct {
		name          string
		forward, back bool
	}{{"forward", true, false}, {"back", false, true}, {"both", true, true}} {
		t.Run(way.name, func(t *testing.T) {
			p := NewProxy(t, echo(t))
			c := dial(t, p.Address())
			if err := say(c, "one", 5*time.Second); err != nil {
				t.Fatal(err)
			}
			p.Silence(way.forward, way.back)
			if err := say(c, "two", 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("silent, but heard %v", err)
			}
			p.Heal()
			if err := hear(c, "two", 5*time.Second); err != nil {
				t.Errorf("after healing: %v", err)
			}
		})
	}
}

func TestProxyDelays(t *testing.T) {
	p := NewProxy(t, echo(t))
	p.Delay(40 * time.Millisecond)
	c := dial(t, p.Address())
	start := time.Now()
	if err := say(c, "one", 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 80*time.Millisecond {
		t.Errorf("there and back took %v", took)
	}
}
