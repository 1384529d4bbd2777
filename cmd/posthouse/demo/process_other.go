//go:build unix && !linux

package demo

import "syscall"

func processAttributes(keep bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: keep, Setpgid: !keep}
}
