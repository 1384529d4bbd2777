package storagetest

import "slices"

// Points are the crash points of storage, in the order in which they come by. "before" is in front of a write
// and "synced" or "done" behind it.
var Points = []string{
	"create.log", "create.state", "create.complete", // a new directory
	"append.before", "append.synced",
	"term.before", "term.synced",
	"vote.before", "vote.synced",
	"truncate.marked", "truncate.before", "truncate.synced", // TruncateFrom, and a log that is emptied
	"release.before", "release.done", // TruncateBefore hands space back
	"reseed.marked", "reseed.before", "reseed.synced",
	"commit.before", "commit.done",
	"flush.before", "flush.done",
	"record.committed", "record.durable",
	"import.table", "import.progress", // chunks are staged
	"import.before", "import.ingested", "import.replaced", "import.cleaned", // Finish
}

func isPoint(name string) bool { return slices.Contains(Points, name) }
