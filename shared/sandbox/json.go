package sandbox

import (
	"bytes"
	"encoding/json"
	"net/http"
)

// object is a JSON object in an answer.
type object = map[string]any

// answerJSON is an answer that must not be cached (RFC 6749, 5.1).
func answerJSON(status int, value any) reply {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic("sandbox: encoding an answer: " + err.Error())
	}
	return reply{status, http.Header{
		"Content-Type":  {"application/json; charset=utf-8"},
		"Cache-Control": {"no-store"},
	}, bytes.TrimSpace(body.Bytes())}
}

// oauthError is an error of a token endpoint (RFC 6749, 5.2).
func oauthError(status int, code, description string) reply {
	return answerJSON(status, object{"error": code, "error_description": description})
}
