// Package handler is the Lambda edge of the connector: events in, answers
// out. It takes a payload apart, checks its form, calls the use case of
// connector.Service and renders what comes back. It holds no rule of the
// domain.
//
// Whatever comes in, a function answers: an HTTP API event with an HTTP
// answer, everything else with JSON or with an error whose type is a
// connector.Code. It never panics, and it logs one line for each invocation, and
// for each message of a batch, in which there is neither a path nor a query,
// since those carry links, states and codes.
package handler
