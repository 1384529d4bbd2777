package proc

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
)

// Command runs the command line against this node, as an operator would, and returns what it printed.
func (n *Node) Command(args ...string) (string, error) {
	var out, errOut bytes.Buffer
	cmd := exec.Command(n.binary, args...)
	cmd.Env = append(os.Environ(), "POSTHOUSE_API=http://"+n.Admin, "POSTHOUSE_URL=amqp://"+n.AMQP)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("posthouse %v: %w: %s", args, err, errOut.String())
	}
	return out.String(), nil
}
