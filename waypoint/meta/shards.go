package meta

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/posthouse/posthouse/waypoint/peer"
)

// Shards is what meta's leader asks of the shards' leaders, wherever they are. All is idempotent: the start of a
// cursor that is there, the end or the limits of one that is not, are successes.
type Shards interface {
	// Change returns when everything in c is applied; what the shard refused for good is listed. After an error some of it
	// may be applied, now or later.
	Change(ctx context.Context, shard uint32, c peer.CursorsRequest) ([]peer.CursorRefused, error)
	// Stats tells about cursors; those that the shard does not have are left out.
	Stats(ctx context.Context, shard uint32, subs []uint64) ([]peer.CursorStats, error)
}

// Caller is the part of a *peer.Hub that reaches leaders.
type Caller interface {
	CallLeader(ctx context.Context, group uint32, op string, body []byte) ([]byte, error)
}

// RemoteShards reaches the shards' leaders through a Caller.
func RemoteShards(c Caller) Shards { return remoteShards{c} }

type remoteShards struct{ caller Caller }

func (r remoteShards) Change(ctx context.Context, shard uint32, c peer.CursorsRequest) ([]peer.CursorRefused, error) {
	var out peer.CursorsResponse
	err := call(ctx, r.caller, shard, peer.OpCursors, c, &out)
	return out.Refused, err
}

func (r remoteShards) Stats(ctx context.Context, shard uint32, subs []uint64) ([]peer.CursorStats, error) {
	var out peer.StatsResponse
	err := call(ctx, r.caller, shard, peer.OpStats, peer.StatsRequest{Subs: subs}, &out)
	return out.Stats, err
}

// call asks the leader of a group something in JSON.
func call(ctx context.Context, c Caller, group uint32, op string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	answer, err := c.CallLeader(ctx, group, op, body)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("answer to %s: %w", op, err)
	}
	return nil
}
