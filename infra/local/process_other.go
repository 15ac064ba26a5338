//go:build !linux

package main

import "syscall"

// ownGroup puts a process into a process group of its own. Ctrl-C then reaches
// only the stack, and the stack can kill the whole group. If the stack is
// killed, the process exits at its next poll.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
