package storage

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	iofs "io/fs"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/posthouse/posthouse/storage/internal/disk"
)

// Identity names a data directory. A replica is its data directory: an empty one under an old name is a new
// replica, since it has forgotten its votes and its acknowledgements.
type Identity struct {
	Cluster string
	Node    string
	// Replica is random, made with the directory, and never changes.
	Replica string
	// Epoch is raised and synced at each Open. A directory restored from a copy comes back with an epoch that
	// its peers have seen already: such a replica has forgotten what it acknowledged since.
	Epoch   uint64
	Created time.Time
}

// identityFile is the identity as it is kept: a line of JSON and a line with its checksum, so that an operator
// can read it.
type identityFile struct {
	Version  int       `json:"version"`
	Cluster  string    `json:"cluster"`
	Node     string    `json:"node"`
	Replica  string    `json:"replica"`
	Epoch    uint64    `json:"epoch"`
	Created  time.Time `json:"created"`
	Complete bool      `json:"complete"` // the databases have been made
}

const remedyNewReplica = "move the whole data directory away and start again: the node comes back as a new replica and is filled by the others"

func newIdentity(cfg Config) identityFile {
	var id [16]byte
	rand.Read(id[:])
	return identityFile{
		Version: layoutVersion, Cluster: cfg.Cluster, Node: cfg.Node,
		Replica: hex.EncodeToString(id[:]), Created: time.Now().UTC().Truncate(time.Second),
	}
}

func (f identityFile) identity() Identity {
	return Identity{Cluster: f.Cluster, Node: f.Node, Replica: f.Replica, Epoch: f.Epoch, Created: f.Created}
}

func (f identityFile) write(fs vfs.FS, dir string) error {
	line, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return replaceFile(fs, dir, disk.Identity, fmt.Appendf(line, "\n%016x\n", xxhash.Sum64(line)))
}

// readIdentity returns ErrNotFound if there is none.
func readIdentity(fs vfs.FS, dir string) (f identityFile, err error) {
	path := fs.PathJoin(dir, disk.Identity)
	b, err := readFile(fs, path)
	if isNotExist(err) {
		return f, ErrNotFound
	}
	if err != nil {
		return f, err
	}
	line, sum, _ := bytes.Cut(b, []byte{'\n'})
	if string(sum) != fmt.Sprintf("%016x\n", xxhash.Sum64(line)) {
		return f, &CorruptError{Path: path, Remedy: remedyNewReplica, Err: errChecksum}
	}
	if err := json.Unmarshal(line, &f); err != nil {
		return f, &CorruptError{Path: path, Remedy: remedyNewReplica, Err: err}
	}
	if f.Version != layoutVersion {
		return f, fmt.Errorf("%s has version %d, this program knows %d", path, f.Version, layoutVersion)
	}
	return f, nil
}

// matches says whether the directory is the one that cfg means.
func (f identityFile) matches(cfg Config) error {
	if f.Cluster != cfg.Cluster || f.Node != cfg.Node {
		return fmt.Errorf("%w: %s is of node %q in cluster %q, not of %q in %q",
			ErrIdentity, cfg.Dir, f.Node, f.Cluster, cfg.Node, cfg.Cluster)
	}
	return nil
}

func isNotExist(err error) bool { return errors.Is(err, iofs.ErrNotExist) }
