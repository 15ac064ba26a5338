package main

import "syscall"

// ownGroup puts a process into a group of its own, so that Ctrl-C reaches
// only us and we end the whole group; should we be killed, it dies too.
func ownGroup() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
