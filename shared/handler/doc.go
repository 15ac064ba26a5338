// Package handler is the Lambda edge of the connector. It decodes an event,
// checks its form, calls a use case of connector.Service, and renders the
// result. It contains no rule of the domain.
//
// A function answers every payload. It answers an HTTP API event with an HTTP
// answer, and any other payload with JSON or with an error whose type is a
// connector.Code. It never panics. It logs one line for each invocation and
// for each message of a batch. The line names the route but contains neither
// path nor query, because these contain links, states and codes.
package handler
