package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// maxTail is how much of the log of an invocation Lambda returns: its last 4 KB.
// https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html, read 2026-11-25
const maxTail = 4 << 10

// output passes on what a process writes, and keeps the end of what it wrote for one
// invocation. Both outputs of the process are one pipe.
type output struct {
	to    io.Writer
	pipe  *os.File // the end that the process writes to
	ended chan struct{}

	mu   sync.Mutex
	tail []byte
	// The stack writes a mark into the pipe. What the process wrote before has been
	// read once the mark has been.
	marks map[string]chan struct{}
}

// newOutput returns the output of a process that has not started.
func newOutput(to io.Writer) (*output, error) {
	from, pipe, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("opening a pipe for the output: %w", err)
	}
	o := &output{to: to, pipe: pipe, ended: make(chan struct{}), marks: map[string]chan struct{}{}}
	go func() {
		defer close(o.ended)
		defer func() { _ = from.Close() }()
		o.read(from)
	}()
	return o, nil
}

// markLength is the length of a mark: a zero byte and 26 characters of random text.
const markLength = 27

func newMark() string { return "\x00" + rand.Text() }

// read passes on what comes from the pipe, without the marks.
func (o *output) read(from io.Reader) {
	var rest []byte
	chunk := make([]byte, 32<<10)
	for {
		n, err := from.Read(chunk)
		rest = o.forward(append(rest, chunk[:n]...), err != nil)
		if err != nil {
			return
		}
	}
}

// forward writes b without the marks. It returns an end of b that may be the
// beginning of a mark, unless that is the last of the output.
func (o *output) forward(b []byte, last bool) (rest []byte) {
	for {
		at := bytes.IndexByte(b, 0)
		switch {
		case at < 0:
			o.write(b)
			return nil
		case len(b)-at < markLength && !last:
			o.write(b[:at])
			return append([]byte(nil), b[at:]...)
		}
		o.write(b[:at])
		b = b[at:]
		if end := min(markLength, len(b)); o.reached(string(b[:end])) {
			b = b[end:]
		} else {
			o.write(b[:1])
			b = b[1:]
		}
	}
}

func (o *output) write(b []byte) {
	if len(b) == 0 {
		return
	}
	o.mu.Lock()
	o.tail = lastOf(append(o.tail, b...))
	o.mu.Unlock()
	_, _ = o.to.Write(b)
}

// lastOf returns the last 4 KB of a log.
func lastOf(log []byte) []byte {
	if over := len(log) - maxTail; over > 0 {
		return append([]byte(nil), log[over:]...)
	}
	return log
}

func (o *output) reached(mark string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	passed, ok := o.marks[mark]
	if ok {
		delete(o.marks, mark)
		close(passed)
	}
	return ok
}

// reset forgets what the process wrote before an invocation.
func (o *output) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail = nil
}

// sync waits until everything that the process has written was read, and returns the
// end of it since reset.
func (o *output) sync() []byte {
	mark, passed := newMark(), make(chan struct{})
	o.mu.Lock()
	o.marks[mark] = passed
	o.mu.Unlock()
	if _, err := io.WriteString(o.pipe, mark); err == nil {
		select {
		case <-passed:
		case <-o.ended:
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.marks, mark)
	return append([]byte(nil), o.tail...)
}

// close ends the output of a process that has exited. A child of the process may keep
// the pipe open: it is waited for until the limit.
func (o *output) close(limit time.Duration) {
	_ = o.pipe.Close()
	select {
	case <-o.ended:
	case <-time.After(limit):
	}
}

// logOf returns the end of the log of an invocation, with the lines that Lambda
// writes around what the function wrote. Lambda also writes the memory that was used,
// which the stack does not measure.
// https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-view.html,
// read 2026-11-25
func logOf(id string, memoryMB int, took time.Duration, written []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "START RequestId: %s Version: $LATEST\n", id)
	b.Write(written)
	if len(written) > 0 && written[len(written)-1] != '\n' {
		b.WriteByte('\n')
	}
	ms := float64(took) / float64(time.Millisecond)
	fmt.Fprintf(&b, "END RequestId: %s\nREPORT RequestId: %s\tDuration: %.2f ms\tBilled Duration: %d ms\tMemory Size: %d MB\t\n",
		id, id, ms, took.Milliseconds()+1, memoryMB)
	return lastOf(b.Bytes())
}
