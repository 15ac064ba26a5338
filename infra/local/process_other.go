//go:build !linux

package main

import "syscall"

// ownGroup puts a process into a group of its own, so that Ctrl-C reaches
// only us and we end the whole group. Should we be killed, it dies of its
// next poll.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
