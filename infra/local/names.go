package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// account is the AWS account of the stack. LocalStack uses the same one.
const account = "000000000000"

func functionARN(name string) string {
	return "arn:aws:lambda:" + defaultRegion + ":" + account + ":function:" + name
}

// newRequestID returns a request id of Lambda's form, a UUID.
func newRequestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// traceID returns an X-Ray trace header for a request.
// https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader
func traceID(requestID string) string {
	sum := sha256.Sum256([]byte(requestID))
	s := hex.EncodeToString(sum[:])
	return strings.Join([]string{"Root=1-" + s[:8] + "-" + s[8:32], "Parent=" + s[32:48], "Sampled=0"}, ";")
}

// newGatewayID returns a request id of the HTTP API's form.
func newGatewayID() string { return rand.Text()[:15] + "=" }
