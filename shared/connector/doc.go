// Package connector is the domain: it takes people through the consent of a
// social platform, keeps the credentials that come of it alive, and hands them
// out. It knows neither AWS nor HTTP, and imports the standard library alone.
//
// A [Service] does all of it, over six ports: [Platform] (one dialect each),
// [Store] (records), [Vault] (secrets), [Sealer] (secrets that the vault cannot
// take at the moment), [Queue] and [Events]. Each use case is one file, named
// after it: link, start, callback, confirm, token, refresh, sweep, import, list,
// verify, usage, disconnect, notice, app. What a refresh is made of stands in
// lease, exchange, failure and breaker.
//
// # Words
//
// A platform is the service behind an authorization; an app is our client
// there. An owner is whose a connection is in the operator's product; an
// account is what was authorized on the platform. A connect link starts an
// authorization: one attempt in flight, named by its state. A consent yields
// grants, one an account. A connection is the stored record; it points to
// credentials in the vault and holds no secret. A lease is the sole right to
// refresh one connection until an instant.
//
// # What always holds
//
// I1. The order of writing is vault, record, event. A record points only to
// credentials that are durable.
//
// I2. Every write of a record is conditional on the revision that was read.
// Whoever comes too late changes nothing. A claim of the sweep moves no more
// than the record's place among what is due, and only if nobody else did.
//
// I3. At most one exchange of a connection's refresh token is in flight. The
// lease that allows it carries the mark of the exchange, written ahead, so
// that a holder who dies leaves word of it.
//
// I4. No exchange begins with less time left than it and the writing of its
// result could need, and none is given up because a caller went away.
//
// I5. A connection is condemned only by the platform's own words, or once its
// token is dead and nothing can renew it; and only if the stored credentials,
// read again, are still those that were refused. A refused app condemns nobody.
//
// I6. A token that still lives is handed out even if it could not be renewed,
// unless the connection is condemned or was refreshed by force too often. A dead
// one is never handed out.
//
// I7. Credentials that are in the vault but not in the record, because a
// writer died in between, are taken over by the next reader; the platform is
// not asked.
//
// I8. Newer credentials are never replaced by older ones: each carries its
// generation, and the record pins the vault's version.
//
// I9. A single-use refresh token whose exchange has no known outcome is not
// shown again while the access token still works, except within a grace period
// that the platform promises.
//
// I10. Deleted stays deleted; a grant that arrives after that is revoked.
//
// I11. Links and states are random, kept as hashes, expire by our clock, and
// are taken once. A state is good only in the browser that began it, and the
// code verifier exists only between that browser and us.
//
// I12. What has to be confirmed is no connection before: nobody can use it,
// only its owner's confirmation, taken once and in time, makes it one, and
// else it is revoked and deleted. The ticket by which the sweep finds it is
// written before its secrets, and deleted after them.
//
// I13. No secret outlives its record, nor stays where none came to be: its
// ticket is written before it, and the sweep ends what is left.
package connector
