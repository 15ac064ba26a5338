// Command function is a Lambda function that does what its payload says, for
// the tests of the local stack.
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

type order struct {
	Do    string `json:"do"`
	Visit string `json:"visit"` // a URL that is asked for first
	Size  int    `json:"size"`
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
	lambda.Start(obey)
}

func obey(ctx context.Context, o order) (answer, error) {
	a := answer{PID: os.Getpid()}
	if o.Visit != "" {
		if err := visit(ctx, o.Visit); err != nil {
			return a, err
		}
	}
	switch o.Do {
	case "exit":
		fmt.Fprintln(os.Stderr, "out of luck")
		os.Exit(3)
	case "panic":
		panic("out of luck")
	case "fail":
		return a, errors.New("out of luck")
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
		a.Filling = strings.Repeat("x", o.Size)
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
