package demo

import "syscall"

// processAttributes keeps the terminal's Ctrl-C from the children, and ends them with this process, however that ends;
// with keep they live on.
func processAttributes(keep bool) *syscall.SysProcAttr {
	if keep {
		return &syscall.SysProcAttr{Setsid: true}
	}
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
