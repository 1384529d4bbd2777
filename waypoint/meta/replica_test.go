package meta

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/posthouse/posthouse/raft"
	"github.com/posthouse/posthouse/storage"
	"github.com/posthouse/posthouse/storage/storagetest"
	"github.com/posthouse/posthouse/waypoint/peer"
	"github.com/posthouse/posthouse/waypoint/peer/peertest"
)

// replica is a cluster of one node: its real log and state on a disk in memory.
type replica struct {
	t       *testing.T
	fabric  *peertest.Fabric
	hub     *peer.Hub
	store   *storage.Store
	node    *raft.Node
	machine *Machine
	stop    func()
	meta    Client
}

func openReplica(t *testing.T, fs *storagetest.FS) *replica {
	t.Helper()
	r := &replica{t: t, fabric: peertest.NewFabric()}
	log := slog.New(slog.DiscardHandler)
	var err error
	if r.store, err = storage.Open(t.Context(), storagetest.Config(t, fs, "data")); err != nil {
		t.Fatal(err)
	}
	if r.node, err = raft.Open(raft.Config{Store: r.store, Fatal: func(msg string, err error) { t.Errorf("%s: %v", msg, err) }}); err != nil {
		t.Fatal(err)
	}
	state, err := r.store.State(peer.MetaGroup)
	if err != nil {
		t.Fatal(err)
	}
	r.machine = NewMachine(MachineConfig{State: state, Fatal: func(msg string, err error) { t.Errorf("%s: %v", msg, err) }})
	group, err := r.node.Group(peer.MetaGroup, r.machine)
	if err != nil {
		t.Fatal(err)
	}
	if r.hub, err = peer.Open(peer.Config{Network: r.fabric.Node("node"), Logger: log}); err != nil {
		t.Fatal(err)
	}
	r.meta = Client{r.hub}
	l, err := NewLeader(Config{Machine: r.machine, Group: group, Hub: OnHub(r.hub), Shards: someShards{}, Seed: Seed{Shards: 3, Feature: 1}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	r.stop = func() {
		cancel()
		<-ended
	}
	return r
}

func (r *replica) close() {
	r.stop()
	if err := r.node.Close(context.Background()); err != nil {
		r.t.Error(err)
	}
	if err := r.store.Close(); err != nil {
		r.t.Error(err)
	}
	r.hub.Close()
	r.fabric.Close()
}

// someShards do whatever they are asked.
type someShards struct{}

func (someShards) Change(context.Context, uint32, peer.CursorsRequest) ([]peer.CursorRefused, error) {
	return nil, nil
}
func (someShards) Stats(context.Context, uint32, []uint64) ([]peer.CursorStats, error) {
	return nil, nil
}

// TestG01SubscriptionsSurvivePowerLoss: what was answered is there after the only node has lost power, whether its state was on disk
// or is made again from the log.
func TestG01SubscriptionsSurvivePowerLoss(t *testing.T) {
	for _, flushed := range []bool{false, true} {
		t.Run(fmt.Sprint("flushed ", flushed), func(t *testing.T) {
			fs := storagetest.New()
			r := openReplica(t, fs)
			ctx := t.Context()
			var ids []uint64
			for i := range 20 {
				info, err := r.meta.Create(ctx, CreateRequest{Owner: "anna", Name: fmt.Sprint(i), Address: fmt.Sprint("t/", i%4), Limits: peer.Limits{MaxMessages: 7}})
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, info.ID)
			}
			if err := r.meta.Drop(ctx, Ref{ID: ids[0], AnyOwner: true}); err != nil {
				t.Fatal(err)
			}
			if flushed {
				state, err := r.store.State(peer.MetaGroup)
				if err == nil {
					err = state.Flush(ctx)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			killed := fs.Crash(0, 1) // nothing that was not synced is left
			r.close()

			again := openReplica(t, killed)
			defer again.close()
			list, err := again.meta.List(ctx, ListRequest{AnyOwner: true})
			if err != nil {
				t.Fatal(err)
			}
			active := 0
			for _, s := range list.Subscriptions {
				if s.State == "active" && s.Limits.MaxMessages == 7 && s.ID != ids[0] {
					active++
				}
			}
			if active != 19 {
				t.Errorf("%d of 19 are there: %+v", active, list)
			}
			if err := again.machine.Check(); err != nil {
				t.Error(err)
			}
			if info, err := again.meta.Create(ctx, CreateRequest{Owner: "anna", Name: "1", Address: "t/1"}); err != nil || info.ID != ids[1] {
				t.Errorf("%+v %v, want the subscription %d", info, err, ids[1])
			}
		})
	}
}
