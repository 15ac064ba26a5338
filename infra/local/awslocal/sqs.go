package awslocal

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// queryErrors are the names of SQS errors in the query protocol. SQS sends them in a
// header, and the AWS CLI shows them.
var queryErrors = map[string]string{
	"QueueDoesNotExist":            "AWS.SimpleQueueService.NonExistentQueue",
	"QueueNameExists":              "QueueAlreadyExists",
	"ReceiptHandleIsInvalid":       "ReceiptHandleIsInvalid",
	"EmptyBatchRequest":            "AWS.SimpleQueueService.EmptyBatchRequest",
	"TooManyEntriesInBatchRequest": "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
	"BatchEntryIdsNotDistinct":     "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
}

// sqs is the service SQS. One mutex is enough for one machine.
type sqs struct {
	now func() time.Time
	ids *idSource

	mu     sync.Mutex
	queues map[string]*queue
}

type queue struct {
	name       string
	created    time.Time
	attributes map[string]string // as set by the client
	messages   []*message        // in the order in which they were sent
	// changed is closed, and replaced, when a message may have become visible.
	changed chan struct{}
}

type message struct {
	id, body    string
	sent, first time.Time // first: the time of the first receive
	visibleAt   time.Time
	received    int
	receipt     string // the newest one; older ones have no effect
}

func newSQS(now func() time.Time, ids *idSource) *sqs {
	return &sqs{now: now, ids: ids, queues: map[string]*queue{}}
}

func (s *sqs) service() service {
	return service{
		contentType: "application/x-amz-json-1.0",
		operations: map[string]operation{
			"CreateQueue":             handleRequest(s.createQueue),
			"GetQueueUrl":             handleRequest(s.getQueueURL),
			"ListQueues":              handleRequest(s.listQueues),
			"GetQueueAttributes":      handle(s.getQueueAttributes),
			"SetQueueAttributes":      handle(s.setQueueAttributes),
			"PurgeQueue":              handle(s.purgeQueue),
			"DeleteQueue":             handle(s.deleteQueue),
			"SendMessage":             handle(s.sendMessage),
			"SendMessageBatch":        handle(s.sendMessageBatch),
			"ReceiveMessage":          handleRequest(s.receiveMessage),
			"DeleteMessage":           handle(s.deleteMessage),
			"DeleteMessageBatch":      handle(s.deleteMessageBatch),
			"ChangeMessageVisibility": handle(s.changeMessageVisibility),
		},
	}
}

// find returns a queue by its URL, and ignores the host. The caller must hold the
// mutex.
func (s *sqs) find(url string) (*queue, error) {
	q, ok := s.queues[url[strings.LastIndex(url, "/")+1:]]
	if !ok {
		return nil, refuse("QueueDoesNotExist", "The specified queue does not exist.")
	}
	return q, nil
}

func queueURL(r *http.Request, name string) string {
	return "http://" + r.Host + "/" + accountID + "/" + name
}

func queueARN(name string) string { return "arn:aws:sqs:" + region + ":" + accountID + ":" + name }

// numberAttributes are the numeric attributes with their default, minimum and
// maximum.
var numberAttributes = map[string][3]int{
	"VisibilityTimeout":             {30, 0, 43200},
	"DelaySeconds":                  {0, 0, 900},
	"ReceiveMessageWaitTimeSeconds": {0, 0, 20},
	"MessageRetentionPeriod":        {345600, 60, 1209600},
	"MaximumMessageSize":            {1048576, 1024, 1048576},
}

func (q *queue) number(name string) int {
	n, err := strconv.Atoi(q.attributes[name])
	if err != nil {
		return numberAttributes[name][0]
	}
	return n
}

func (q *queue) seconds(name string) time.Duration {
	return time.Duration(q.number(name)) * time.Second
}

// redrive is the attribute RedrivePolicy of a queue. The count is a number or a
// string.
type redrive struct {
	DeadLetterTargetArn string      `json:"deadLetterTargetArn"`
	MaxReceiveCount     json.Number `json:"maxReceiveCount"`
}

func checkAttributes(attributes map[string]string) error {
	for name, value := range attributes {
		limits, isNumber := numberAttributes[name]
		n, err := strconv.Atoi(value)
		switch {
		case isNumber && (err != nil || n < limits[1] || n > limits[2]):
			return refuse("InvalidAttributeValue", "Invalid value for the parameter %s.", name)
		case name == "RedrivePolicy" && value != "":
			if err := json.Unmarshal([]byte(value), new(redrive)); err != nil {
				return refuse("InvalidAttributeValue", "Invalid value for the parameter RedrivePolicy.")
			}
		case name == "FifoQueue":
			return refuse("InvalidAttributeName", "the local stand-in has standard queues only")
		}
	}
	return nil
}

type createQueueInput struct {
	QueueName  string
	Attributes map[string]string
}

type queueURLOutput struct {
	QueueURL string `json:"QueueUrl"`
}

var queueName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,80}$`)

func (s *sqs) createQueue(r *http.Request, input createQueueInput) (queueURLOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !queueName.MatchString(input.QueueName) {
		return queueURLOutput{}, refuse("InvalidParameterValue", "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length")
	}
	if err := checkAttributes(input.Attributes); err != nil {
		return queueURLOutput{}, err
	}
	if q, ok := s.queues[input.QueueName]; ok {
		for name, value := range input.Attributes {
			if q.attributes[name] != value {
				return queueURLOutput{}, refuse("QueueNameExists", "A queue already exists with the same name and a different value for attribute %s", name)
			}
		}
		return queueURLOutput{queueURL(r, q.name)}, nil
	}
	attributes := maps.Clone(input.Attributes)
	if attributes == nil {
		attributes = map[string]string{}
	}
	s.queues[input.QueueName] = &queue{
		name: input.QueueName, created: s.now(), attributes: attributes, changed: make(chan struct{}),
	}
	return queueURLOutput{queueURL(r, input.QueueName)}, nil
}

func (s *sqs) getQueueURL(r *http.Request, input createQueueInput) (queueURLOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.find(input.QueueName)
	if err != nil {
		return queueURLOutput{}, err
	}
	return queueURLOutput{queueURL(r, q.name)}, nil
}

type listQueuesInput struct{ QueueNamePrefix string }

type listQueuesOutput struct {
	QueueURLs []string `json:"QueueUrls,omitempty"`
}

func (s *sqs) listQueues(r *http.Request, input listQueuesInput) (listQueuesOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var output listQueuesOutput
	for _, name := range slices.Sorted(maps.Keys(s.queues)) {
		if strings.HasPrefix(name, input.QueueNamePrefix) {
			output.QueueURLs = append(output.QueueURLs, queueURL(r, name))
		}
	}
	return output, nil
}

type queueInput struct {
	QueueURL       string `json:"QueueUrl"`
	AttributeNames []string
	Attributes     map[string]string
}

type queueAttributesOutput struct {
	Attributes map[string]string `json:",omitempty"`
}

func (s *sqs) getQueueAttributes(input queueInput) (queueAttributesOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.find(input.QueueURL)
	if err != nil {
		return queueAttributesOutput{}, err
	}
	all := map[string]string{
		"QueueArn":         queueARN(q.name),
		"CreatedTimestamp": strconv.FormatInt(q.created.Unix(), 10),
	}
	for name := range numberAttributes {
		all[name] = strconv.Itoa(q.number(name))
	}
	maps.Copy(all, q.attributes)
	q.count(s.now(), all)
	if !slices.Contains(input.AttributeNames, "All") {
		maps.DeleteFunc(all, func(name, _ string) bool { return !slices.Contains(input.AttributeNames, name) })
	}
	return queueAttributesOutput{all}, nil
}

func (q *queue) count(now time.Time, into map[string]string) {
	var visible, delayed, inFlight int
	for _, m := range q.messages {
		switch {
		case !now.Before(m.visibleAt):
			visible++
		case m.received == 0:
			delayed++
		default:
			inFlight++
		}
	}
	into["ApproximateNumberOfMessages"] = strconv.Itoa(visible)
	into["ApproximateNumberOfMessagesDelayed"] = strconv.Itoa(delayed)
	into["ApproximateNumberOfMessagesNotVisible"] = strconv.Itoa(inFlight)
}

func (s *sqs) setQueueAttributes(input queueInput) (struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.find(input.QueueURL)
	if err != nil {
		return struct{}{}, err
	}
	if err := checkAttributes(input.Attributes); err != nil {
		return struct{}{}, err
	}
	maps.Copy(q.attributes, input.Attributes)
	return struct{}{}, nil
}

func (s *sqs) purgeQueue(input queueInput) (struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.find(input.QueueURL)
	if err != nil {
		return struct{}{}, err
	}
	q.messages = nil
	return struct{}{}, nil
}

func (s *sqs) deleteQueue(input queueInput) (struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.find(input.QueueURL)
	if err != nil {
		return struct{}{}, err
	}
	delete(s.queues, q.name)
	q.wake()
	return struct{}{}, nil
}

// wake makes waiting receivers check the queue.
func (q *queue) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}

type outgoing struct {
	ID                string `json:"Id"`
	MessageBody       string
	DelaySeconds      *int
	MessageAttributes map[string]json.RawMessage
}

type sent struct {
	ID               string `json:"Id,omitempty"`
	MessageID        string `json:"MessageId"`
	MD5OfMessageBody string
}

func (s *sqs) add(q *queue, m outgoing) (sent, error) {
	delay := q.seconds("DelaySeconds")
	if m.DelaySeconds != nil {
		delay = time.Duration(*m.DelaySeconds) * time.Second
	}
	switch {
	case m.MessageBody == "":
		return sent{}, refuse("MissingParameter", "The request must contain the parameter MessageBody.")
	case len(m.MessageBody) > q.number("MaximumMessageSize"):
		return sent{}, refuse("InvalidParameterValue", "One or more parameters are invalid. Reason: Message must be shorter than %d bytes.", q.number("MaximumMessageSize"))
	case delay < 0 || delay > 900*time.Second:
		return sent{}, refuse("InvalidParameterValue", "Value for parameter DelaySeconds is invalid.")
	case len(m.MessageAttributes) > 0:
		return sent{}, refuse("UnsupportedOperation", "the local stand-in has no message attributes")
	}
	now := s.now()
	added := &message{id: s.ids.uuid(), body: m.MessageBody, sent: now, visibleAt: now.Add(delay)}
	q.messages = append(q.messages, added)
	q.wake()
	return sent{ID: m.ID, MessageID: added.id, MD5OfMessageBody: md5Of(added.body)}, nil
}

// md5Of returns the MD5 of a body. Clients of SQS verify it.
func md5Of(body string) string {
	sum := md5.Sum([]byte(body))
	return hex.EncodeToString(sum[:])
}

type sendMessageInput struct {
	QueueURL string `json:"QueueUrl"`
	outgoing
}

func (s *sqs) sendMessage(input sendMessageInput) (sent, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.find(input.QueueURL)
	if err != nil {
		return sent{}, err
	}
	input.ID = ""
	return s.add(q, input.outgoing)
}

type batchFailure struct {
	ID          string `json:"Id"`
	Code        string
	Message     string
	SenderFault bool
}

type batchOutput struct {
	Successful []any
	Failed     []batchFailure
}

// batch applies an operation to each entry, and separates successes from failures.
func batch[E any](entries []E, idOf func(E) string, do func(E) (any, error)) (batchOutput, error) {
	output := batchOutput{Successful: []any{}, Failed: []batchFailure{}}
	seen := map[string]bool{}
	for _, entry := range entries {
		if seen[idOf(entry)] {
			return output, refuse("BatchEntryIdsNotDistinct", "Id %s repeated.", idOf(entry))
		}
		seen[idOf(entry)] = true
	}
	switch n := len(entries); {
	case n == 0:
		return output, refuse("EmptyBatchRequest", "There should be at least one entry in the request.")
	case n > 10:
		return output, refuse("TooManyEntriesInBatchRequest", "Maximum number of entries per request are 10. You have sent %d.", n)
	}
	for _, entry := range entries {
		done, err := do(entry)
		if err != nil {
			output.Failed = append(output.Failed, failureOf(idOf(entry), err))
			continue
		}
		output.Successful = append(output.Successful, done)
	}
	return output, nil
}

type sendMessageBatchInput struct {
	QueueURL string `json:"QueueUrl"`
	Entries  []outgoing
}

func (s *sqs) sendMessageBatch(input sendMessageBatchInput) (batchOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.find(input.QueueURL)
	if err != nil {
		return batchOutput{}, err
	}
	return batch(input.Entries, func(m outgoing) string { return m.ID }, func(m outgoing) (any, error) { return s.add(q, m) })
}

type receiveMessageInput struct {
	QueueURL                    string `json:"QueueUrl"`
	MaxNumberOfMessages         *int
	VisibilityTimeout           *int
	WaitTimeSeconds             *int
	AttributeNames              []string
	MessageSystemAttributeNames []string
}

type receivedMessage struct {
	MessageID     string `json:"MessageId"`
	ReceiptHandle string
	MD5OfBody     string
	Body          string
	Attributes    map[string]string `json:",omitempty"`
}

type receiveMessageOutput struct {
	Messages []receivedMessage `json:",omitempty"`
}

// pollInterval is how often a long poll checks for messages that have become visible
// again. A sent message ends the wait at once.
const pollInterval = 100 * time.Millisecond

func (s *sqs) receiveMessage(r *http.Request, input receiveMessageInput) (receiveMessageOutput, error) {
	most := valueOr(input.MaxNumberOfMessages, 1)
	if most < 1 || most > 10 {
		return receiveMessageOutput{}, refuse("InvalidParameterValue", "Value %d for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.", most)
	}
	var over <-chan time.Time
	for {
		messages, q, changed, err := s.receive(input, most)
		if err != nil || len(messages) > 0 {
			return receiveMessageOutput{messages}, err
		}
		if over == nil {
			wait := valueOr(input.WaitTimeSeconds, q.number("ReceiveMessageWaitTimeSeconds"))
			timer := time.NewTimer(time.Duration(wait) * time.Second)
			defer timer.Stop()
			over = timer.C
		}
		select {
		case <-changed:
		case <-time.After(pollInterval):
		case <-over:
			return receiveMessageOutput{}, nil
		case <-r.Context().Done():
			return receiveMessageOutput{}, r.Context().Err()
		}
	}
}

func valueOr(n *int, otherwise int) int {
	if n == nil {
		return otherwise
	}
	return *n
}

func (s *sqs) receive(input receiveMessageInput, most int) ([]receivedMessage, *queue, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.find(input.QueueURL)
	if err != nil {
		return nil, nil, nil, err
	}
	now := s.now()
	s.retire(q, now)
	timeout := time.Duration(valueOr(input.VisibilityTimeout, q.number("VisibilityTimeout"))) * time.Second
	var taken []receivedMessage
	for _, m := range q.messages {
		if len(taken) == most || now.Before(m.visibleAt) {
			continue
		}
		if m.received == 0 {
			m.first = now
		}
		m.received++
		m.visibleAt = now.Add(timeout)
		m.receipt = s.ids.hex(32)
		taken = append(taken, m.show(slices.Concat(input.AttributeNames, input.MessageSystemAttributeNames)))
	}
	return taken, q, q.changed, nil
}

// retire deletes messages after their retention. It moves messages that were
// received too often to the dead-letter queue.
func (s *sqs) retire(q *queue, now time.Time) {
	dead, most := s.deadLetters(q)
	oldest := now.Add(-q.seconds("MessageRetentionPeriod"))
	q.messages = slices.DeleteFunc(q.messages, func(m *message) bool {
		if m.sent.Before(oldest) {
			return true
		}
		if dead == nil || m.received < most || now.Before(m.visibleAt) {
			return false
		}
		m.visibleAt, m.receipt = now, ""
		dead.messages = append(dead.messages, m)
		dead.wake()
		return true
	})
}

func (s *sqs) deadLetters(q *queue) (*queue, int) {
	var policy redrive
	if err := json.Unmarshal([]byte(q.attributes["RedrivePolicy"]), &policy); err != nil {
		return nil, 0
	}
	most, err := strconv.Atoi(policy.MaxReceiveCount.String())
	dead := s.queues[policy.DeadLetterTargetArn[strings.LastIndex(policy.DeadLetterTargetArn, ":")+1:]]
	if err != nil || dead == q {
		return nil, 0
	}
	return dead, most
}

func (m *message) show(attributes []string) receivedMessage {
	all := map[string]string{
		"SenderId":                         accountID,
		"SentTimestamp":                    millis(m.sent),
		"ApproximateFirstReceiveTimestamp": millis(m.first),
		"ApproximateReceiveCount":          strconv.Itoa(m.received),
	}
	if !slices.Contains(attributes, "All") {
		maps.DeleteFunc(all, func(name, _ string) bool { return !slices.Contains(attributes, name) })
	}
	return receivedMessage{MessageID: m.id, ReceiptHandle: m.receipt, MD5OfBody: md5Of(m.body), Body: m.body, Attributes: all}
}

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

type receiptInput struct {
	ID                string `json:"Id"`
	QueueURL          string `json:"QueueUrl"`
	ReceiptHandle     string
	VisibilityTimeout int
}

var receiptHandle = regexp.MustCompile(`^[0-9a-f]{64}$`)

// indexOf returns the index of the message of a receipt handle, or -1 for an outdated
// handle, which SQS accepts without an effect.
func (q *queue) indexOf(receipt string) (int, error) {
	if !receiptHandle.MatchString(receipt) {
		return 0, refuse("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
	}
	return slices.IndexFunc(q.messages, func(m *message) bool { return m.receipt == receipt }), nil
}

func (q *queue) remove(receipt string) error {
	n, err := q.indexOf(receipt)
	if err == nil && n >= 0 {
		q.messages = slices.Delete(q.messages, n, n+1)
	}
	return err
}

func (s *sqs) deleteMessage(input receiptInput) (struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.find(input.QueueURL)
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, q.remove(input.ReceiptHandle)
}

type receiptBatchInput struct {
	QueueURL string `json:"QueueUrl"`
	Entries  []receiptInput
}

func (s *sqs) deleteMessageBatch(input receiptBatchInput) (batchOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.find(input.QueueURL)
	if err != nil {
		return batchOutput{}, err
	}
	return batch(input.Entries, func(e receiptInput) string { return e.ID }, func(e receiptInput) (any, error) {
		return map[string]string{"Id": e.ID}, q.remove(e.ReceiptHandle)
	})
}

func (s *sqs) changeMessageVisibility(input receiptInput) (struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.find(input.QueueURL)
	if err != nil {
		return struct{}{}, err
	}
	n, err := q.indexOf(input.ReceiptHandle)
	switch {
	case err != nil:
		return struct{}{}, err
	case input.VisibilityTimeout < 0 || input.VisibilityTimeout > 43200:
		return struct{}{}, refuse("InvalidParameterValue", "Value %d for parameter VisibilityTimeout is invalid.", input.VisibilityTimeout)
	case n < 0 || !s.now().Before(q.messages[n].visibleAt):
		return struct{}{}, refuse("MessageNotInflight", "The message referred to is not in flight.")
	}
	q.messages[n].visibleAt = s.now().Add(time.Duration(input.VisibilityTimeout) * time.Second)
	q.wake()
	return struct{}{}, nil
}

func failureOf(id string, err error) batchFailure {
	failure := batchFailure{ID: id, Code: "InternalError", Message: fmt.Sprint(err)}
	if refused := (*apiError)(nil); errors.As(err, &refused) {
		failure.Code, failure.Message, failure.SenderFault = refused.code, refused.message, true
	}
	return failure
}
