package peer

// Requests to a shard's leader: their op, and the JSON bodies of request and response. All are idempotent by content.
const (
	// OpCursors makes, ends and changes cursors: CursorsRequest, CursorsResponse. It is answered when all of it is applied. Start of
	// a subscription that has a cursor, End and Limits of one that has none are successes.
	OpCursors = "cursors"
	// OpStats tells about cursors: StatsRequest, StatsResponse.
	OpStats = "stats"
)

// CursorsRequest is the body of OpCursors.
type CursorsRequest struct {
	Start  []StartCursor  `json:"start,omitempty"`
	End    []uint64       `json:"end,omitempty"`
	Limits []CursorLimits `json:"limits,omitempty"`
}

// StartCursor asks for a cursor at the end of a topic.
type StartCursor struct {
	Sub     uint64 `json:"sub"`
	Address string `json:"address"`
	Owner   string `json:"owner"`
	Name    string `json:"name"`
	Limits  Limits `json:"limits"`
}

// CursorLimits asks for other limits.
type CursorLimits struct {
	Sub    uint64 `json:"sub"`
	Limits Limits `json:"limits"`
}

// CursorsResponse answers OpCursors.
type CursorsResponse struct {
	Refused []CursorRefused `json:"refused,omitempty"`
}

// CursorRefused names a cursor that can't be.
type CursorRefused struct {
	Sub   uint64 `json:"sub"`
	Error Error  `json:"error"`
}

// StatsRequest is the body of OpStats. No Subs: all.
type StatsRequest struct {
	Subs []uint64 `json:"subs,omitempty"`
}

// StatsResponse answers OpStats; subscriptions without a cursor here are left out.
type StatsResponse struct {
	Stats []CursorStats `json:"stats,omitempty"`
}

// CursorStats tells about one cursor. Captured = Confirmed + GivenUp + Messages, in messages.
type CursorStats struct {
	Sub       uint64            `json:"sub"`
	Messages  uint64            `json:"messages"` // the backlog
	Bytes     uint64            `json:"bytes"`
	OldestMS  uint64            `json:"oldest_ms"` // age of its oldest message
	InFlight  uint64            `json:"in_flight"`
	Parked    uint64            `json:"parked,omitempty"` // undeliverable-here: they wait for another link
	Captured  uint64            `json:"captured"`
	Confirmed uint64            `json:"confirmed"`
	GivenUp   uint64            `json:"given_up"`
	Causes    map[string]uint64 `json:"causes,omitempty"` // given up, by cause
	Unheard   uint64            `json:"unheard"`          // given up and not heard of yet
	Pinned    uint64            `json:"pinned"`           // bytes on disk from its floor on
	Floor     uint64            `json:"floor"`
	Head      uint64            `json:"head"`
	Router    string            `json:"router,omitempty"` // where its link is
	Why       string            `json:"why,omitempty"`    // what dispatch waits for
}
