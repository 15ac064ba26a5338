package connector

import "time"

// The time budgets and limits of the protocol. Their sums are explained in
// doc.go; TestFunctions_Timeout of infra/blueprint ties the timeouts of the
// functions to them.

// An invocation that exchanges credentials divides its time: ExchangeBudget is
// for the platform's answer, StoreBudget for storing it. No exchange begins
// with less than both.
const (
	ExchangeBudget = 10 * time.Second
	StoreBudget    = 5 * time.Second
	// rescueBudget is the part of StoreBudget for credentials that could not be
	// recorded.
	rescueBudget = time.Second
	// detachedBudget is for work that outlives its caller, where the caller's
	// context has no deadline.
	detachedBudget = 20 * time.Second
)

// A lease lasts until its holder can do no more: until the deadline of its
// context, at which Lambda ends the process, and LeaseMargin for clocks that
// differ. A slow holder thus never looks like a crashed one. leaseLife is for
// contexts without a deadline.
const (
	leaseLife   = detachedBudget + LeaseMargin
	LeaseMargin = 5 * time.Second
)

const (
	// authorizationLife is how long a person may take on the platform's pages.
	authorizationLife = 10 * time.Minute
	// DefaultLinkLife and MaxLinkLife are how long a connect link lives. A link
	// that outlives the default can be forwarded at leisure: whoever mints it says
	// whether it asks for confirmation.
	DefaultLinkLife = 15 * time.Minute
	MaxLinkLife     = 7 * 24 * time.Hour
	// NoticeMemory is how long the connector stores at which route a notice was taken,
	// and whether it was applied. It is longer than TikTok retries a notice: 72 hours
	// (https://developers.tiktok.com/doc/webhooks-overview/, read 2026-11-25).
	NoticeMemory = 96 * time.Hour
	// deletionLife is how long the status of a data deletion can be read.
	deletionLife = 90 * 24 * time.Hour
	// previousSecretLife is how long a replaced client secret is used where the
	// platform refuses the new one: long enough to put the new one into force
	// on the portal, short enough for one that leaked.
	previousSecretLife = 7 * 24 * time.Hour
)

const (
	// confirmationLife is how long a consent may be confirmed, and choiceLife is how long
	// a person may choose among its accounts.
	confirmationLife = 10 * time.Minute
	choiceLife       = 10 * time.Minute
	// confirmationSlack is how much later the sweep may end it: longer than a
	// Confirm that began in time can take.
	confirmationSlack = time.Minute
	// consentSlack is how much later than its holder the sweep continues a consent.
	consentSlack = 5 * time.Second
	// AnswerReserve is the time in which a caller that saves many accounts records what
	// it saved, and answers.
	AnswerReserve = 8 * time.Second
	// saveRate is how many accounts of one consent are saved a second, so that a few
	// large consents at once leave room below the 50 writes a second of Secrets Manager
	// (https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html,
	// read 2026-11-23). saveSlots is how many of them are saved at once.
	saveRate  = 10
	saveSlots = 5
	// maxNamed is how many accounts without a name a list of choices asks for.
	maxNamed = 20
	// handOverDelay is longer than the clocks of two functions differ.
	handOverDelay = time.Second
	// consentMemory is how long a consent that is done is remembered: longer than
	// another tab of its link can take.
	consentMemory = day
	// lateWriterLife is longer than any function runs: what began before has ended
	// then, or crashed. Lambda ends a function after 15 minutes at most
	// (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html,
	// read 2026-11-25).
	lateWriterLife = 15 * time.Minute
	// recordWithin is how long the creation of a connection may take before the
	// sweep looks for its record.
	recordWithin = time.Minute
	// pendingLife is how long a pending consent is stored at most.
	pendingLife = 7 * 24 * time.Hour
	// revokePendingFor is how long the revocation of a pending consent is tried.
	revokePendingFor = 24 * time.Hour
	// operatorWait is how long a consent waits for the operator, who must correct
	// the app or buy credits.
	operatorWait = 30 * 24 * time.Hour
	// disconnectWithin is how long a disconnection may take, with the revocation
	// and the deletion of the credentials, before the sweep finishes it.
	disconnectWithin = time.Minute
	// maxRevocations is how often a revocation is tried before the credentials
	// are deleted without it.
	maxRevocations = 20
	// reconcileFor is how long after a connection was marked needs_reauth the
	// credential store is searched for a consent whose writer crashed without
	// the lease.
	reconcileFor = time.Hour
	// restoreAfter is when stale credentials are stored again.
	restoreAfter = time.Minute
)

// The events. What happened must not cost its caller much time.
const (
	// SendWithin is how long after it happened the sweep may send an event: longer
	// than the sending at once takes. It is also the shortest time between two tries.
	SendWithin = time.Minute
	// sendBudget is how long the sending of events at once may take.
	sendBudget = time.Second
	// sendPause is how long nothing is sent at once after the bus did not answer.
	sendPause = 30 * time.Second
	// maxSendBackoff is the longest time between two tries.
	maxSendBackoff = time.Hour
	// owedLife is when DynamoDB may delete an event that was not tried since.
	owedLife = 365 * 24 * time.Hour
)

// Retries. A caller who asks for a token may try again soon, since a person may
// wait for it; the sweep has time.
const (
	callerBackoff    = 500 * time.Millisecond
	maxCallerBackoff = 4 * time.Second
	sweepBackoff     = 30 * time.Second
	maxSweepBackoff  = 30 * time.Minute
	maxRetryAfter    = 15 * time.Minute // of what a platform asks for
)

// What is remembered of imports.
const (
	// maxTokenLife is longer than any refresh token lives unused: TikTok's live 365
	// days at most
	// (https://developers.tiktok.com/doc/oauth-user-access-token-management, read
	// 2026-11-23).
	maxTokenLife = 366 * 24 * time.Hour
	// persistTries is how often the storing of what an import brought is repeated: for
	// about two seconds.
	persistTries = 10
	// maxMerges is how often a connection may have been merged into the next.
	maxMerges = 5
	// maxStandIns is how many connections without a known account one consent or
	// import asks the platform for.
	maxStandIns     = 5
	maxStandInPages = 5
)

// The breaker of a client.
const (
	breakerThreshold = 5 // failures in a row of one owner, or failed owners in a row
	// maxOwnerCircuits bounds the record: about 100 bytes each.
	maxOwnerCircuits = 40
	breakerFirst     = time.Second
	breakerMost      = 2 * time.Minute
	// breakerProbe is how long a caller has to find out whether calls succeed
	// again.
	breakerProbe = ExchangeBudget + 2*time.Second
	// drainOver is over how long the connections that an outage delayed are
	// spread once it ends.
	drainOver = 10 * time.Minute
)

// The sweep.
const (
	// ClaimLife is how long later sweeps leave a queued record alone. A lost
	// message costs that much time.
	ClaimLife  = 12 * time.Minute
	sweepBatch = 100
	// sweepClaims is how many records are claimed at once.
	sweepClaims = 8
	// sweepPace is how many records a second a sweep gives the workers: as
	// many as Secrets Manager takes writes, which no quota raises
	// (https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html,
	// read 2026-11-23). Where more are due than fit into sweepSpread, it is a
	// multiple. Tokens that live an hour can wait for sweepSpread and a sweep.
	sweepPace   = 50
	sweepSpread = 2 * time.Minute
	// sweepReserve is the time that a sweep leaves for its end.
	sweepReserve = 5 * time.Second
)

// How many refreshes of one connection callers can force in a window. Each of
// them rotates a token on some platforms.
const (
	maxForced    = 10
	forcedWindow = 10 * time.Minute
)

// The suspensions. No token is handed out on a state that was read longer ago
// than suspensionLife, or by a read that took longer than suspensionBudget. The
// rest of two seconds is for the answer.
const (
	suspensionLife   = time.Second
	suspensionBudget = 1500 * time.Millisecond
	// suspensionReads is how often a check reads them before it fails.
	suspensionReads = 3
	// suspensionWrites is how often a write of them is tried.
	suspensionWrites = 20
	// maxSuspensions and maxSuspensionSize limit the record, which DynamoDB
	// limits to 400 KB
	// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html,
	// read 2026-11-25). Both leave room for moreForAll suspensions of
	// everything, since those must be possible whatever exists.
	maxSuspensions    = 500
	maxSuspensionSize = 200_000 // bytes
	moreForAll        = 10
	maxAllSize        = 4096 // bytes of one of these
)

const (
	// DefaultMinTTL is how long a token that is handed out lives at least, where
	// the caller does not say.
	DefaultMinTTL = 300 * time.Second
	// MaxMinTTL is the most that a caller may ask for, and longer than any token
	// lives.
	MaxMinTTL = 365 * 24 * time.Hour

	maxPage = 100 // connections of a listing
)
