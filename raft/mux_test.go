package raft

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse/posthouse/raft/rafttest"
)

// muxOn makes a mux that hands accepted connections to a channel.
func muxOn(network *rafttest.Network) (*mux, chan net.Conn) {
	taken := make(chan net.Conn, 2*maxGreeting)
	m := newMux(network.Listen("here"), time.Second, slog.New(slog.DiscardHandler), func(p preamble) (func(net.Conn), answer) {
		if p.Group != aPreamble.Group {
			return nil, answer{verdictNoGroup, "no such group"}
		}
		return func(c net.Conn) { taken <- c }, answer{Text: "1/x"}
	})
	return m, taken
}

func dialMux(t *testing.T, network *rafttest.Network) net.Conn {
	t.Helper()
	c, err := network.Dialer("there")(context.Background(), "here")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Diallers that say nothing delay nobody, and are dropped at the deadline.
func TestMuxSilentDialler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := rafttest.NewNetwork()
		m, taken := muxOn(network)
		defer m.close()
		silent := dialMux(t, network)
		c := dialMux(t, network)
		began := time.Now()
		if _, err := c.Write(aPreamble.append(nil)); err != nil {
			t.Fatal(err)
		}
		if _, err := readAnswer(c); err != nil {
			t.Fatal(err)
		}
		served := <-taken
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %v while a silent connection is open", took)
		}
		if _, err := silent.Read(make([]byte, 1)); err == nil {
			t.Error("the silent connection was answered")
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("the silent connection was dropped after %v, the deadline is 1s", took)
		}
		// The deadline was for the preamble only.
		time.Sleep(time.Minute)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		if _, err := served.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		_, _ = served.Close(), c.Close()
	})
}

func TestMuxRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := rafttest.NewNetwork()
		m, taken := muxOn(network)
		defer m.close()
		p := aPreamble
		p.Group++
		c := dialMux(t, network)
		defer c.Close()
		_, _ = c.Write(p.append(nil))
		if _, err := readAnswer(c); err == nil || len(taken) > 0 {
			t.Errorf("an unknown group is taken: %v", err)
		}
	})
}

// Strangers beyond the bound are not even greeted; the bound is free again when they are gone.
func TestMuxBoundsStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := rafttest.NewNetwork()
		m, taken := muxOn(network)
		defer m.close()
		for range maxGreeting {
			defer dialMux(t, network).Close()
		}
		synctest.Wait()
		c := dialMux(t, network)
		defer c.Close()
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("one too many is kept")
		}
		time.Sleep(2 * time.Second)
		d := dialMux(t, network)
		defer d.Close()
		_, _ = d.Write(aPreamble.append(nil))
		if _, err := readAnswer(d); err != nil {
			t.Errorf("after the strangers have gone: %v", err)
		}
		defer (<-taken).Close()
	})
}

// close ends the greetings and waits for them.
func TestMuxClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := rafttest.NewNetwork()
		m, _ := muxOn(network)
		c := dialMux(t, network)
		defer c.Close()
		began := time.Now()
		m.close()
		if took := time.Since(began); took != 0 {
			t.Errorf("close took %v", took)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("the connection is open")
		}
	})
}
