package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"platform-api-connector/shared/config"
)

// server is one listener on loopback.
type server struct {
	url  string
	http *http.Server
	at   net.Listener
}

// listen opens addr, which must be on loopback, because the servers do not
// authenticate callers.
func listen(addr string) (*server, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("%q is not host:port, such as 127.0.0.1:8422", addr)
	}
	if !config.Loopback(strings.ToLower(host)) {
		return nil, fmt.Errorf("%q is not on loopback: requests are not signed here, so only this machine may send them", addr)
	}
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is in use, perhaps by another local stack: end that process, or choose another port; 0 chooses a free one (make run ARGS='-addr 127.0.0.1:0 -aws 127.0.0.1:0 -sandbox 127.0.0.1:0')", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	bound, ok := l.Addr().(*net.TCPAddr)
	if !ok || !bound.IP.IsLoopback() {
		_ = l.Close()
		return nil, fmt.Errorf("%q is not on loopback: its name leads to %s", addr, l.Addr())
	}
	return &server{url: originOf(host, bound.Port), at: l}, nil
}

// originOf returns an http origin as browsers write it. PUBLIC_URL must be such a one.
func originOf(host string, port int) string {
	host = strings.ToLower(host)
	if ip := net.ParseIP(host); ip != nil {
		host = ip.String()
	}
	if port == 80 {
		return "http://" + strings.TrimSuffix(net.JoinHostPort(host, ""), ":")
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// serve answers requests until close. Headers have at most headerBytes; zero
// means Go's default. Answers have no time limit, because the Runtime API keeps
// polls open.
func (s *server) serve(h http.Handler, headerBytes int) {
	s.http = &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    headerBytes,
		// The guard must see OPTIONS * too.
		DisableGeneralOptionsHandler: true,
		// Errors of clients do not concern the person at the terminal.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	go func() { _ = s.http.Serve(s.at) }()
}

// close waits for running requests until ctx ends, and then closes them.
func (s *server) close(ctx context.Context) {
	if s.http == nil {
		_ = s.at.Close()
		return
	}
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
}
