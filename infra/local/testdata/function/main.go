// Command function is a Lambda function that runs the command of its
// payload, for the tests of the local stack.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"

	"github.com/aws/aws-lambda-go/lambda"
)

type command struct {
	Do    string `json:"do"`
	Visit string `json:"visit"` // a URL to request first
	Size  int    `json:"size"`
	Print string `json:"print"` // on both outputs, before the rest
}

type answer struct {
	PID         int      `json:"pid"`
	Child       int      `json:"child,omitempty"`
	Environment []string `json:"environment,omitempty"`
	Filling     string   `json:"filling,omitempty"`
}

func main() {
	if os.Getenv("LOG_LEVEL") == "crash" {
		fmt.Fprintln(os.Stderr, "LOG_LEVEL: none of debug, info, warn, error")
		os.Exit(1)
	}
	lambda.Start(run)
}

func run(ctx context.Context, c command) (answer, error) {
	a := answer{PID: os.Getpid()}
	fmt.Print(c.Print)
	fmt.Fprint(os.Stderr, c.Print)
	if c.Visit != "" {
		if err := visit(ctx, c.Visit); err != nil {
			return a, err
		}
	}
	switch c.Do {
	case "exit":
		fmt.Fprintln(os.Stderr, "test failure")
		os.Exit(3)
	case "panic":
		panic("test failure")
	case "fail":
		return a, errors.New("test failure")
	case "hang":
		select {}
	case "leave a child":
		child := exec.Command("sleep", "1000")
		if err := child.Start(); err != nil {
			return a, err
		}
		a.Child = child.Process.Pid
	case "environment":
		a.Environment = os.Environ()
	case "fill":
		a.Filling = strings.Repeat("x", c.Size)
	}
	return a, nil
}

func visit(ctx context.Context, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	return response.Body.Close()
}
