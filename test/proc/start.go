package proc

import (
	"os/exec"
	"runtime"
)

var starts = make(chan func(), 1)

func init() {
	go func() {
		// A child with Pdeathsig is killed when the *thread* that started it ends, so one locked thread that
		// lives as long as the test process starts them all.
		runtime.LockOSThread()
		for start := range starts {
			start()
		}
	}()
}

func startLocked(cmd *exec.Cmd) error {
	result := make(chan error)
	starts <- func() { result <- cmd.Start() }
	return <-result
}
