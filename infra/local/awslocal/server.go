package awslocal

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	accountID = "000000000000"
	region    = "us-east-1"

	// maxBody is the maximum size of a request of DynamoDB, the largest of all.
	maxBody = 16 << 20
)

// Options are the dependencies of a Server.
type Options struct {
	Now    func() time.Time
	Random io.Reader
	// OnEvent, if set, is called with each event that a bus accepts. It must
	// not block.
	OnEvent func(Event)
}

// Server is the embedded AWS, see the package comment.
type Server struct {
	services map[string]service
	bus      *eventBridge
}

// service is one AWS service: its protocol, and its operations by name.
type service struct {
	contentType string
	operations  map[string]operation
}

// operation answers one request with an *answer, or with a value to encode as JSON.
type operation func(r *http.Request, body []byte) (any, error)

// New returns a Server with no tables, secrets or queues, and with the
// default event bus.
func New(o Options) *Server {
	ids := &idSource{random: o.Random}
	bus := newEventBridge(o.Now, ids, o.OnEvent)
	return &Server{
		bus: bus,
		services: map[string]service{
			"DynamoDB_20120810": newDynamoDB(o.Now).service(),
			"secretsmanager":    newSecretsManager(o.Now, ids).service(),
			"AmazonSQS":         newSQS(o.Now, ids).service(),
			"AWSEvents":         bus.service(),
		},
	}
}

// Events returns the last 1,000 events, oldest first.
func (s *Server) Events() []Event { return s.bus.all() }

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		writeError(w, "application/x-amz-json-1.0", &apiError{http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "the body could not be read, or is too large"})
		return
	}
	target, name, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	if target == "" {
		serveSTS(w, r, body)
		return
	}
	service, ok := s.services[target]
	if !ok {
		writeError(w, "application/x-amz-json-1.0", unknownOperation(target+"."+name))
		return
	}
	service.serve(w, r, name, body)
}

func (s service) serve(w http.ResponseWriter, r *http.Request, name string, body []byte) {
	operate, ok := s.operations[name]
	if !ok {
		writeError(w, s.contentType, unknownOperation(name))
		return
	}
	result, err := operate(r, body)
	if err != nil {
		writeError(w, s.contentType, err)
		return
	}
	if whole, ok := result.(*answer); ok {
		respond(w, s.contentType, whole.status, whole.body.Bytes())
		return
	}
	b, err := json.Marshal(result)
	if err != nil {
		writeError(w, s.contentType, err)
		return
	}
	respond(w, s.contentType, http.StatusOK, b)
}

// respond also sends the checksum of DynamoDB. Without it, the SDK logs a warning.
func respond(w http.ResponseWriter, contentType string, status int, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10))
	w.WriteHeader(status)
	w.Write(body)
}

// handle converts a function from input to output into an operation.
func handle[I, O any](f func(I) (O, error)) operation {
	return handleRequest(func(_ *http.Request, input I) (O, error) { return f(input) })
}

func handleRequest[I, O any](f func(*http.Request, I) (O, error)) operation {
	return func(r *http.Request, body []byte) (any, error) {
		var input I
		if err := json.Unmarshal(body, &input); err != nil {
			return nil, &apiError{http.StatusBadRequest, "SerializationException", "the body is not JSON of the expected shape"}
		}
		return f(r, input)
	}
}

// apiError is an error of an AWS service.
type apiError struct {
	status  int
	code    string
	message string
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

func refuse(code, format string, args ...any) error {
	return &apiError{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}

func unknownOperation(name string) error {
	return refuse("UnknownOperationException", "the local stand-in for AWS does not know %q", name)
}

func writeError(w http.ResponseWriter, contentType string, err error) {
	failure := &apiError{http.StatusInternalServerError, "InternalFailure", err.Error()}
	errors.As(err, &failure)
	w.Header().Set("X-Amzn-ErrorType", failure.code)
	if legacy, ok := queryErrors[failure.code]; ok {
		w.Header().Set("X-Amzn-Query-Error", legacy+";Sender")
	}
	body, err := json.Marshal(map[string]string{"__type": failure.code, "message": failure.message})
	if err != nil {
		panic(err) // strings can be encoded
	}
	respond(w, contentType, failure.status, body)
}

// idSource creates identifiers from random bytes. The source of the bytes need not
// be safe for concurrent use.
type idSource struct {
	mu     sync.Mutex
	random io.Reader
}

// uuid returns a random UUID of version 4.
func (s *idSource) uuid() string {
	b := s.bytes(16)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// hex returns n random bytes in hexadecimal.
func (s *idSource) hex(n int) string { return hex.EncodeToString(s.bytes(n)) }

func (s *idSource) bytes(n int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := make([]byte, n)
	if _, err := io.ReadFull(s.random, b); err != nil {
		panic("awslocal: reading randomness: " + err.Error())
	}
	return b
}

// epoch encodes a time as the JSON protocols do: in seconds with a fraction.
type epoch time.Time

// MarshalJSON implements json.Marshaler.
func (e epoch) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%.3f", float64(time.Time(e).UnixMilli())/1000), nil
}

// epochOrNil returns nil for the zero time.
func epochOrNil(t time.Time) *epoch {
	if t.IsZero() {
		return nil
	}
	e := epoch(t)
	return &e
}
