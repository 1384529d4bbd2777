package disk

import (
	"path"
	"strings"
)

// Names inside a data directory.
const (
	LogDir     = "log"      // database of all groups' logs
	StateDir   = "state"    // database of all groups' states
	StagingDir = "staging"  // imports that are not finished
	Identity   = "identity" // who this directory is
	Marks      = "marks"    // what was once synced
	Reserve    = "reserve"  // room that is freed when the disk is full
	Temporary  = ".tmp"     // suffix of files and directories that are not complete yet
)

// Class says what a file is for. Faults are injected, and times measured, by class.
type Class int

const (
	Other      Class = iota // directories, locks, whatever has no class of its own
	LogWAL                  // write-ahead log of the log database
	LogTable                // tables of the log database
	StateTable              // tables of the state database
	Manifest                // what describes a database: manifest, markers, options
	Small                   // identity, tail marks
	Staging                 // unfinished imports
	Ballast                 // the reserve file
	numClasses
)

var classNames = [numClasses]string{"other", "log-wal", "log-table", "state-table", "manifest", "small", "staging", "reserve"}

// Classes are all classes.
func Classes() []Class {
	all := make([]Class, numClasses)
	for i := range all {
		all[i] = Class(i)
	}
	return all
}

func (c Class) String() string {
	if c < 0 || c >= numClasses {
		return "unknown"
	}
	return classNames[c]
}

// ParseClass is the inverse of String.
func ParseClass(s string) (Class, bool) {
	for i, name := range classNames {
		if name == s {
			return Class(i), true
		}
	}
	return Other, false
}

// ClassOf classifies a file of a data directory by its path.
func ClassOf(p string) Class {
	dir, base := path.Split(path.Clean(p))
	parent := path.Base(dir)
	in := func(name string) bool { return parent == name || parent == name+Temporary }
	switch {
	case strings.Contains(dir, "/"+StagingDir+"/"):
		return Staging
	case in(LogDir) || in(StateDir):
		return classInDatabase(base, in(LogDir))
	case named(base, Identity), named(base, Marks):
		return Small
	case named(base, Reserve):
		return Ballast
	}
	return Other
}

func classInDatabase(base string, log bool) Class {
	switch {
	case strings.HasSuffix(base, ".log"):
		return LogWAL
	case strings.HasSuffix(base, ".sst"), strings.HasSuffix(base, ".blob"):
		if log {
			return LogTable
		}
		return StateTable
	case strings.HasPrefix(base, "MANIFEST-"), strings.HasPrefix(base, "OPTIONS-"),
		strings.HasPrefix(base, "marker."), strings.HasSuffix(base, ".dbtmp"):
		return Manifest
	}
	return Other
}

func named(base, name string) bool { return base == name || base == name+Temporary }
