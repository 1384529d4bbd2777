package shard

import (
	"fmt"
	"testing"
	"time"

	"github.com/posthouse/posthouse/storage"
)

// null is a batch that writes nowhere.
type null struct{ bytes int }

func (n *null) Set(key, value []byte)           { n.bytes += len(key) + len(value) }
func (n *null) Delete(key []byte)               { n.bytes += len(key) }
func (n *null) DeleteRange(lower, upper []byte) { n.bytes += len(lower) + len(upper) }

// crowd makes cursors on one address, with limits, in few commands.
func (r *replica) crowd(n int, address string) {
	r.t.Helper()
	for sub := 1; sub <= n; {
		var c Command
		for ; sub <= n && len(c.Start) < 1000; sub++ {
			c.Start = append(c.Start, Start{Sub: uint64(sub), Address: address, Owner: "owner", Name: fmt.Sprint("name-", sub),
				Limits: Limits{MaxMessages: uint64(1_000_000_000 + sub), MaxBytes: 1 << 50, MaxAge: time.Hour}})
		}
		r.fits(c)
	}
}

// publishes is a command with publishes from number first on.
func publishes(lane, first uint64, count, size int, addresses ...string) Command {
	var c Command
	payload := make([]byte, size)
	for i := range count {
		c.Publish = append(c.Publish, Publish{Lane: lane, N: first + uint64(i), Address: addresses[i%len(addresses)], Payload: payload})
	}
	return c
}

func TestAPublishCostsTheSameHoweverManySubscribe(t *testing.T) {
	s := openStore(t)
	var bytes [2]int
	for i, cursors := range []int{1, 3000} {
		r := newReplica(t, s, uint32(i))
		lane := r.lane()
		r.crowd(cursors, "a")
		r.fits(publishes(lane, 1, 100, 128, "a"))
		bytes[i] = r.put.bytes
		if w := r.put.writes; len(w) != 3 || w[storage.KeyMessage] != 100 || w[storage.KeyLane] != 1 || w[storage.KeyHeader] != 1 {
			t.Errorf("%d cursors: wrote %v, want messages, lane and header", cursors, w)
		}
	}
	// The seqs and totals are the same; what differs may only be the length of a counter.
	if bytes[0] != bytes[1] {
		t.Errorf("wrote %d bytes with one cursor, %d with 3000", bytes[0], bytes[1])
	}
}

func TestApplyAllocatesLittle(t *testing.T) {
	r := newReplica(t, openStore(t), 1)
	lane := r.lane()
	r.start(1, "a", Limits{MaxMessages: 10})
	r.start(2, "b", Limits{MaxAge: time.Second})
	next := uint64(1)
	var data [12][]byte
	for i := range data {
		c := publishes(lane, next, 1000, 128, "a", "b")
		next += 1000
		data[i] = c.Encode(nil)
	}
	i := 0
	var to null
	if got := testing.AllocsPerRun(len(data)-2, func() {
		r.apply(&to, Entry{Index: uint64(i + 10), Time: r.now, Data: data[i]})
		i++
	}); got > 20 {
		t.Errorf("%v allocations for 1000 publishes, want at most 20", got)
	}
	if l, _ := r.Lane(lane); l.Last != uint64(i)*1000 {
		t.Errorf("the lane is at %d, want %d", l.Last, i*1000)
	}
}

// Bytes written a message, and time, must not depend on the number of cursors.
func BenchmarkPublish(b *testing.B) {
	for _, cursors := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("cursors=%d", cursors), func(b *testing.B) {
			r := newReplica(b, openStore(b), 1)
			lane := r.lane()
			r.crowd(cursors, "a")
			benchmarkPublishes(b, r, lane)
		})
	}
}

func benchmarkPublishes(b *testing.B, r *replica, lane uint64) {
	var to null
	var data []byte
	next := uint64(1)
	b.ReportAllocs()
	b.SetBytes(1000 * 128)
	for b.Loop() {
		b.StopTimer()
		c := publishes(lane, next, 1000, 128, "a")
		data = c.Encode(data[:0])
		next += 1000
		b.StartTimer()
		r.index++
		r.apply(&to, Entry{Index: r.index, Time: r.now, Data: data})
		if t := r.Overflowing("a", r.topics["a"].head.Totals); len(t) != 0 {
			b.Fatal("limits are passed")
		}
	}
	b.ReportMetric(float64(to.bytes)/float64(next-1), "written-B/msg")
	b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(next-1), "ns/msg")
}

// With a real batch, committed.
func BenchmarkPublishCommit(b *testing.B) {
	r := newReplica(b, openStore(b), 1)
	lane := r.lane()
	r.start(1, "a", Limits{})
	var data []byte
	next := uint64(1)
	b.ReportAllocs()
	b.SetBytes(1000 * 128)
	for b.Loop() {
		b.StopTimer()
		c := publishes(lane, next, 1000, 128, "a")
		data = c.Encode(data[:0])
		next += 1000
		b.StartTimer()
		batch := r.state.NewBatch()
		r.index++
		r.Apply(batch, Entry{Index: r.index, Time: r.now, Data: data})
		if err := batch.Commit(r.index); err != nil {
			b.Fatal(err)
		}
		batch.Close()
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(next-1), "ns/msg")
}

// One message of each of many cursors, confirmed in order, in one command: what a leader does in a turn.
func BenchmarkConfirm(b *testing.B) {
	for _, cursors := range []int{1, 1000, 10_000} {
		b.Run(fmt.Sprintf("cursors=%d", cursors), func(b *testing.B) {
			r := newReplica(b, openStore(b), 1)
			lane := r.lane()
			r.crowd(cursors, "a")
			var to null
			n := uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				n++
				m := r.publish(lane, "a", 128)
				c := Command{}
				for sub := range cursors {
					c.Confirm = append(c.Confirm, Confirm{Sub: uint64(sub + 1), Ranges: m})
				}
				data := c.Encode(nil)
				b.StartTimer()
				r.index++
				if result := r.apply(&to, Entry{Index: r.index, Time: r.now, Data: data}); len(result.Faults) > 0 {
					b.Fatal(result.Faults)
				}
			}
			b.ReportMetric(float64(to.bytes)/float64(n)/float64(cursors), "written-B/confirm")
			b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(n)/float64(cursors), "ns/confirm")
		})
	}
}

func BenchmarkRestore(b *testing.B) {
	r := newReplica(b, openStore(b), 1)
	lane := r.lane()
	r.crowd(10_000, "a")
	m := r.publish(lane, "a", make([]int, 1000)...)
	for sub := range 1000 {
		r.confirm(uint64(sub+1), m[sub])
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Restore(); err != nil {
			b.Fatal(err)
		}
	}
}
