package main

// mutants lists the guards of the refresh protocol, each with a change that
// removes it. Each text to find is as short as it can be, so that the table
// follows the code with little work.
func mutants() []mutant {
	const dir = "shared/connector/"
	return []mutant{
		// The lease.
		{
			Name:    "lease-ends-with-its-holder",
			Guard:   "A lease outlasts the deadline of its holder by the difference that clocks may have.",
			File:    dir + "lease.go",
			Find:    `s.left(ctx) + leaseExtra`,
			Replace: `s.left(ctx)`,
		},
		{
			Name:    "no-mark-ahead",
			Guard:   "The lease carries the mark of the exchange, written before the refresh token is sent.",
			File:    dir + "lease.go",
			Find:    `c.Attempt = attempt`,
			Replace: `_ = attempt`,
		},
		{
			Name:    "held-lease-ignored",
			Guard:   "No worker takes a lease that another holder has.",
			File:    dir + "refresh.go",
			Find:    `case c.Lease.Held(now):`,
			Replace: `case false:`,
		},
		{
			Name:    "other-lease-released",
			Guard:   "A holder releases only its own lease.",
			File:    dir + "lease.go",
			Find:    `if c.Lease.Holder == holder {`,
			Replace: `if true {`,
		},
		{
			Name:    "waiter-ignores-result",
			Guard:   "A caller who waited for a refresh returns its failure, and does not try again.",
			File:    dir + "refresh.go",
			Find:    `waited := try > 0 &&`,
			Replace: `waited := false &&`,
		},
		{
			Name:    "disconnected-record-written",
			Guard:   "No late write changes the record of a disconnected connection.",
			File:    dir + "lease.go",
			Find:    `if next.Status == Disconnected {`,
			Replace: `if false {`,
		},

		// Time and cancellation.
		{
			Name:    "exchange-with-too-little-time",
			Guard:   "No exchange begins with less time left than it and the storing of its result could need.",
			File:    dir + "lease.go",
			Find:    `return s.left(ctx) < exchangeTime+storeTime`,
			Replace: `return false`,
		},
		{
			Name:    "caller-cancels-exchange",
			Guard:   "An exchange that has begun ends and is stored although its caller went away.",
			File:    dir + "lease.go",
			Find:    `context.WithDeadline(context.WithoutCancel(ctx), deadline)`,
			Replace: `context.WithDeadline(ctx, deadline)`,
		},

		// The exchange, and the storing of its result.
		{
			Name:    "uncertain-token-shown-again",
			Guard:   "A refresh token that may be spent is not sent again while the access token works.",
			File:    dir + "refresh.go",
			Find:    `return c.alive(now) &&`,
			Replace: `return false &&`,
		},
		{
			Name:    "lost-answer-forgotten",
			Guard:   "A refresh token that may be spent stays in doubt after a later failure whose outcome is known.",
			File:    dir + "failure.go",
			Find:    `rotates && (e.Uncertain || spent)`,
			Replace: `rotates && e.Uncertain`,
		},
		{
			Name:    "forced-refreshes-unlimited",
			Guard:   "Callers can force ten refreshes of a connection in ten minutes, and no more.",
			File:    dir + "refresh.go",
			Find:    `if len(recent) >= maxForced {`,
			Replace: `if false {`,
		},
		{
			Name:    "replaced-app-not-noticed",
			Guard:   "A connection is refreshed only with the app that it was authorized for.",
			File:    dir + "exchange.go",
			Find:    `creds.ClientID != app.ClientID {`,
			Replace: `false {`,
		},
		{
			Name:    "sealer-not-prepared",
			Guard:   "No exchange begins whose result could not be sealed.",
			File:    dir + "exchange.go",
			Find:    `if err := s.Sealer.Prepare(ctx); err != nil {`,
			Replace: `if err := error(nil); err != nil {`,
		},
		{
			Name:    "no-sealing",
			Guard:   "Renewed credentials that the vault does not take are sealed into the record.",
			File:    dir + "exchange.go",
			Find:    `if sealErr == nil {`,
			Replace: `if sealErr == nil { return safekept{}, err`,
		},
		{
			Name:    "renewal-replaces-newer-consent",
			Guard:   "A late renewal does not replace credentials of a newer generation.",
			File:    dir + "exchange.go",
			Find:    `if changed && c.Generation >= creds.Generation {`,
			Replace: `if false {`,
		},
		{
			Name:    "older-generation-on-top",
			Guard:   "An older generation that a late writer left as the vault's current version is ignored.",
			File:    dir + "vault.go",
			Find:    `creds.Generation > c.Generation {`,
			Replace: `true {`,
		},
		{
			Name:    "late-grant-not-revoked",
			Guard:   "A grant that arrives after the disconnection is revoked.",
			File:    dir + "exchange.go",
			Find:    `s.giveBack(ctx, p, app, []Grant{{`,
			Replace: `_ = ([]Grant{{`,
		},
		{
			Name:    "late-secret-not-deleted",
			Guard:   "A secret that is written after the disconnection is deleted.",
			File:    dir + "exchange.go",
			Find:    `if err := s.Vault.Delete(ctx, credentialsName(c.ID), false); err != nil {`,
			Replace: `if err := error(nil); err != nil {`,
		},

		// Reconciliation of a record with what a dead writer left in the vault.
		{
			Name:    "no-reconcile-before-exchange",
			Guard:   "Newer credentials in the vault are written to the record, and the platform is not asked.",
			File:    dir + "exchange.go",
			Find:    "\tif creds.Generation > c.Generation {",
			Replace: "\tif false {",
		},
		{
			Name:    "no-reconcile-of-dead-connection",
			Guard:   "A consent whose writer died before the record makes a dead connection active again.",
			File:    dir + "failure.go",
			Find:    `if c.Status != NeedsReauth ||`,
			Replace: `if true ||`,
		},
		{
			Name:    "reconcile-replaces-newer-consent",
			Guard:   "A late reconciliation does not replace credentials of a newer generation.",
			File:    dir + "exchange.go",
			Find:    "case c.Generation > creds.Generation:\n\t\t\treturn errSuperseded\n\t\tcase c.Generation < creds.Generation:",
			Replace: "case c.Generation != creds.Generation:",
		},

		// The end of a connection.
		{
			Name:    "no-second-look",
			Guard:   "A refusal marks the connection dead only if the stored credentials, read again, are those that were refused.",
			File:    dir + "failure.go",
			Find:    `if err == nil && current.Generation > creds.Generation {`,
			Replace: `if false {`,
		},
		{
			Name:    "verdict-over-renewal",
			Guard:   "A refusal does not mark a connection dead whose record has newer credentials.",
			File:    dir + "failure.go",
			Find:    `if c.Generation > creds.Generation || c`,
			Replace: `if c`,
		},
		{
			Name:    "verdict-without-lease",
			Guard:   "A holder whose lease another took does not mark the connection dead.",
			File:    dir + "failure.go",
			Find:    ` || c.Lease.another(holder)`,
			Replace: ``,
		},
		{
			Name:    "failure-recorded-without-lease",
			Guard:   "A holder whose lease another took does not overwrite the mark of the next holder with its failure.",
			File:    dir + "failure.go",
			Find:    "recorded, err := s.commit(ctx, c, func(c *Connection) error {\n\t\tif c.Lease.another(holder) {",
			Replace: "recorded, err := s.commit(ctx, c, func(c *Connection) error {\n\t\tif false {",
		},
		{
			Name:    "app-refusal-marks-connection-dead",
			Guard:   "A platform that refuses the app marks no connection dead.",
			File:    dir + "failure.go",
			Find:    `if e.Code.GrantDead() {`,
			Replace: `if e.Code.GrantDead() || e.Code.AppRefused() {`,
		},
		{
			Name:    "disconnection-not-swept",
			Guard:   "The sweep finishes a disconnection whose caller died.",
			File:    dir + "disconnect.go",
			Find:    `c.RefreshAt = s.Now().UTC().Add(endedWithin)`,
			Replace: `_ = endedWithin`,
		},
		{
			Name:    "revocation-ends-other-connection",
			Guard:   "An unused grant is not revoked while the same person has a connection.",
			File:    dir + "callback.go",
			Find:    `len(others) > 0`,
			Replace: `len(others) < 0`,
		},
		{
			Name:    "notice-ends-newer-consent",
			Guard:   "A notice has no effect on a consent that is newer than the notice.",
			File:    dir + "notice.go",
			Find:    `return !n.At.IsZero() &&`,
			Replace: `return false &&`,
		},

		// What a caller of token-get receives.
		{
			Name:    "expired-token-served",
			Guard:   "A token that expired while it was read is not returned.",
			File:    dir + "token.go",
			Find:    `if !t.ExpiresAt.IsZero() &&`,
			Replace: `if false &&`,
		},
		{
			Name:    "degraded-token-not-served",
			Guard:   "A token that has not expired is returned although its refresh failed.",
			File:    dir + "token.go",
			Find:    `if failure != nil && (!servable`,
			Replace: `if failure != nil && (true || !servable`,
		},
		{
			Name:    "notice-during-refresh-ignored",
			Guard:   "A token of a connection that a notice marked dead during the refresh is not returned.",
			File:    dir + "token.go",
			Find:    `failure = s.usable(renewed)`,
			Replace: `failure = nil`,
		},

		// Consents.
		{
			Name:    "state-taken-twice",
			Guard:   "A state is taken once.",
			File:    dir + "callback.go",
			Find:    `if _, err := s.Store.TakeTicket(ctx, StateTicket, hash(r.State), hash(browser), s.Now()); err != nil {`,
			Replace: `if ticket.Bound != hash(browser) {`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "browser-binding-not-checked",
			Guard:   "A state is taken only by the browser that began the authorization.",
			File:    dir + "callback.go",
			Find:    `hash(r.State), hash(browser),`,
			Replace: `hash(r.State), ticket.Bound,`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "confirmation-of-another-owner",
			Guard:   "A confirmation works for its own owner and no other.",
			File:    dir + "confirm.go",
			Find:    `return hash(NewSecret(owner))`,
			Replace: `return ""`,
		},
		{
			Name:    "pending-consent-not-revoked",
			Guard:   "A consent that its owner did not confirm in time is revoked.",
			File:    dir + "confirm.go",
			Find:    `err = s.revokeHeld(ctx, waiting.Authorization.Platform, grants)`,
			Replace: `_, err = grants, nil`,
		},
		{
			Name:    "orphaned-secret-not-deleted",
			Guard:   "A secret whose writer died before the record is deleted.",
			File:    dir + "unrecorded.go",
			Find:    `if err := s.Vault.Delete(ctx, credentialsName(left.ConnectionID), true); err != nil {`,
			Replace: `if err := error(nil); err != nil {`,
		},
		{
			Name:    "refresh-token-of-another-client",
			Guard:   "A new consent without a refresh token gets the one of before only if both are of the same client.",
			File:    dir + "keep.go",
			Find:    ` && old.ClientID == g.Credentials.ClientID && old.ClientID != ""`,
			Replace: ``,
		},
		{
			Name:    "consent-does-not-wait-for-refresh",
			Guard:   "A new consent waits for a refresh that is under way.",
			File:    dir + "lease.go",
			Find:    `if s.left(ctx) < storeTime {`,
			Replace: `if true {`,

			Equivalent: "the late renewal is refused by the record's revision and generation",
		},
		{
			Name:    "consent-takes-generation-of-dead-writer",
			Guard:   "A new consent gets a generation after the one that a dead writer left in the vault.",
			File:    dir + "keep.go",
			Find:    `max(c.Generation, old.Generation) + 1`,
			Replace: `c.Generation + 1`,

			Equivalent: "the record pins the vault's version, and whoever is late is refused by the record's revision and generation",
		},

		// The sweep, the breaker and the app.
		{
			Name:    "claim-not-conditional",
			Guard:   "Of sweeps that overlap, only the one that claimed a connection adds it to the queue.",
			File:    dir + "sweep.go",
			Find:    "case err == nil:\n\t\t\tids",
			Replace: "case err == nil || errors.Is(err, ErrConflict):\n\t\t\tids",
		},
		{
			Name:    "refresh-without-jitter",
			Guard:   "Connections of the same age are due at different instants.",
			File:    dir + "schedule.go",
			Find:    `s.jitter(early-late)`,
			Replace: `0*s.jitter(early-late)`,
		},
		{
			Name:    "breaker-never-opens",
			Guard:   "The breaker opens after several failures in a row, or one refusal of the app.",
			File:    dir + "breaker.go",
			Find:    `if b.Failures >= breakerThreshold || e.Code == AppMisconfigured {`,
			Replace: `if false {`,
		},
		{
			Name:    "breaker-lets-all-through",
			Guard:   "An open breaker allows no call but the probe.",
			File:    dir + "breaker.go",
			Find:    "if b.Openings == 0 {\n\t\treturn b, true, nil",
			Replace: "if true {\n\t\treturn b, true, nil",
		},
		{
			Name:    "previous-secret-for-any-error",
			Guard:   "The previous client secret is tried only if the platform refused the client.",
			File:    dir + "rotation.go",
			Find:    `case err == nil || !refused(err),`,
			Replace: `case err == nil,`,
		},
	}
}
