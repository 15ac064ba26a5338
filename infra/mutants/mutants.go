package main

// mutants lists the guards of the refresh protocol, each with a change that
// removes it. Each text to find is as short as it can be, so that the table
// follows the code with little work.
func mutants() []mutant {
	const dir, store = "shared/connector/", "shared/credentialstore/"
	return []mutant{
		// The lease.
		{
			Name:    "lease-ends-with-its-holder",
			Guard:   "A lease outlasts the deadline of its holder by the difference that clocks may have.",
			File:    dir + "lease.go",
			Find:    `remaining(ctx) + LeaseMargin`,
			Replace: `remaining(ctx)`,
		},
		{
			Name:    "no-mark-ahead",
			Guard:   "The lease carries the mark of the exchange, written before the refresh token is sent.",
			File:    dir + "lease.go",
			Find:    `next.Attempt = mark`,
			Replace: `_ = mark`,
		},
		{
			Name:    "held-lease-ignored",
			Guard:   "No worker takes a lease that another holder has.",
			File:    dir + "lease.go",
			Find:    `case c.Lease.Held(now):`,
			Replace: `case false:`,
		},
		{
			Name:    "other-lease-released",
			Guard:   "A holder releases only its own lease.",
			File:    dir + "lease.go",
			Find:    `if l.Holder == holder {`,
			Replace: `if true {`,
		},
		{
			Name:    "waiter-ignores-result",
			Guard:   "A caller who waited for a refresh returns its failure, and does not try again.",
			File:    dir + "refresh.go",
			Find:    `if try > 0 &&`,
			Replace: `if false &&`,
		},
		{
			Name:    "disconnected-record-written",
			Guard:   "No late write changes the record of a disconnected connection.",
			File:    dir + "lease.go",
			Find:    "if c.Status == Disconnected {\n\t\treturn c, errLate",
			Replace: "if false {\n\t\treturn c, errLate",
		},

		// Time and cancellation.
		{
			Name:    "exchange-with-too-little-time",
			Guard:   "No exchange begins with less time left than it and the storing of its result could need.",
			File:    dir + "lease.go",
			Find:    `return remaining(ctx) < ExchangeBudget+StoreBudget`,
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
			Find:    `&& rotates(p, c.ExpiresAt) && c.alive(now)`,
			Replace: `&& rotates(p, c.ExpiresAt) && false`,
		},
		{
			Name:    "lost-answer-forgotten",
			Guard:   "A refresh token that may be spent stays in doubt after a later failure whose outcome is known.",
			File:    dir + "outcome.go",
			Find:    `rotates && (e.Uncertain || a.mayBeSpent())`,
			Replace: `rotates && e.Uncertain`,
		},
		{
			Name:    "forced-refreshes-unlimited",
			Guard:   "Callers can force ten refreshes of a connection in ten minutes, and no more.",
			File:    dir + "refresh.go",
			Find:    `if a.freshness.force {`,
			Replace: `if false {`,
		},
		{
			Name:    "replaced-app-not-noticed",
			Guard:   "A connection is refreshed only with the app that it was authorized for.",
			File:    dir + "refresh.go",
			Find:    `a.credentials.ClientID != a.app.ClientID {`,
			Replace: `false {`,
		},
		{
			Name:    "sealer-not-prepared",
			Guard:   "No exchange begins whose result could not be sealed.",
			File:    dir + "refresh.go",
			Find:    `if err := a.CredentialStore.Prepare(ctx); err != nil {`,
			Replace: `if err := error(nil); err != nil {`,
		},
		{
			Name:    "no-sealing",
			Guard:   "Renewed credentials that the vault does not take are sealed into the record.",
			File:    store + "secrets.go",
			Find:    `if sealErr == nil {`,
			Replace: `if sealErr == nil { return connector.CredentialsRef{}, err`,
		},
		{
			Name:    "renewal-replaces-newer-consent",
			Guard:   "A late renewal does not replace credentials of a newer generation.",
			File:    dir + "outcome.go",
			Find:    `case c.Credentials.Generation > ref.Generation, changed && c.Credentials.Generation == ref.Generation:`,
			Replace: `case false:`,
		},
		{
			Name:    "older-generation-on-top",
			Guard:   "An older generation that a late writer left as the vault's current version is ignored.",
			File:    store + "secrets.go",
			Find:    ` || creds.Generation > ref.Generation {`,
			Replace: ` || true {`,
		},
		{
			Name:    "late-grant-not-revoked",
			Guard:   "A grant that arrives after the disconnection is revoked.",
			File:    dir + "outcome.go",
			Find:    `a.revokeUnused(ctx, a.platform, a.app, []Grant{{`,
			Replace: `_ = ([]Grant{{`,
		},
		{
			Name:    "late-secret-not-deleted",
			Guard:   "A secret that is written after the disconnection is deleted.",
			File:    dir + "grant.go",
			Find:    `err = s.CredentialStore.Delete(ctx, c.credentialsKey(), c.Credentials, purge)`,
			Replace: `_ = purge; err = nil`,
		},

		// Reconciliation of a record with what a crashed writer stored.
		{
			Name:    "no-reconcile-before-exchange",
			Guard:   "Newer credentials in the vault are written to the record, and the platform is not asked.",
			File:    dir + "reconcile.go",
			Find:    `if ref.Generation <= c.Credentials.Generation {`,
			Replace: `if creds, err = s.CredentialStore.Get(ctx, c.credentialsKey(), c.Credentials); err != nil { return c, creds, credentialsError(err) } else {`,
		},
		{
			Name:    "no-reconcile-of-dead-connection",
			Guard:   "A consent whose writer crashed before the record makes the connection active again.",
			File:    dir + "reconcile.go",
			Find:    `if c.Status != NeedsReauth || c.Lease`,
			Replace: `if true || c.Lease`,
		},
		{
			Name:    "reconcile-replaces-newer-consent",
			Guard:   "A late reconciliation does not replace credentials of a newer generation.",
			File:    dir + "reconcile.go",
			Find:    "if c.Credentials.Generation > ref.Generation {\n\t\t\treturn errLate\n\t\t}\n\t\tif c.Credentials.Generation < ref.Generation {",
			Replace: `if c.Credentials.Generation != ref.Generation {`,
		},

		// The end of a connection.
		{
			Name:    "no-second-look",
			Guard:   "A refusal marks the connection needs_reauth only if the stored credentials, read again, are those that were refused.",
			File:    dir + "outcome.go",
			Find:    `if err == nil && newest.Generation > a.credentials.Generation {`,
			Replace: `if err == nil && newest.Generation < 0 {`,
		},
		{
			Name:    "verdict-over-renewal",
			Guard:   "A refusal does not mark a connection needs_reauth whose record has newer credentials.",
			File:    dir + "outcome.go",
			Find:    `if c.Credentials.Generation > a.credentials.Generation {`,
			Replace: `if false {`,
		},
		{
			Name:    "verdict-without-lease",
			Guard:   "A holder whose lease another took does not mark the connection needs_reauth.",
			File:    dir + "outcome.go",
			Find:    `marked, err := a.release(ctx, func(c *Connection) error {`,
			Replace: `marked, err := a.commit(ctx, a.connection, func(c *Connection) error { c.Lease.release(a.connection.Lease.Holder)`,
		},
		{
			Name:    "failure-recorded-without-lease",
			Guard:   "A holder whose lease another took does not overwrite the mark of the next holder with its failure.",
			File:    dir + "outcome.go",
			Find:    `recorded, err := a.release(ctx, func(c *Connection) error {`,
			Replace: `recorded, err := a.commit(ctx, a.connection, func(c *Connection) error { c.Lease.release(a.connection.Lease.Holder)`,
		},
		{
			Name:    "app-refusal-marks-connection-dead",
			Guard:   "A platform that refuses the app marks no connection needs_reauth.",
			File:    dir + "refresh.go",
			Find:    `case code.Code.GrantDead():`,
			Replace: `case code.Code.GrantDead() || code.Code.AppRefused():`,
		},
		{
			Name:    "disconnection-not-swept",
			Guard:   "The sweep finishes a disconnection whose caller crashed.",
			File:    dir + "disconnect.go",
			Find:    `c.RefreshAt = s.Now().UTC().Add(disconnectWithin)`,
			Replace: `_ = disconnectWithin`,
		},
		{
			Name:    "revocation-ends-other-connection",
			Guard:   "An unused grant is not revoked while the same person has a connection.",
			File:    dir + "grant.go",
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

		// The events.
		{
			Name:    "event-not-owed",
			Guard:   "An event is written in the transaction of the change that it tells of.",
			File:    dir + "events.go",
			Find:    `change.Put = put`,
			Replace: `_ = put`,
		},
		{
			Name:    "refused-event-dropped",
			Guard:   "An event is deleted only after the bus accepted it.",
			File:    dir + "events.go",
			Find:    `if len(s.publish(sendCtx, owed.Event)) > 0 {`,
			Replace: `if s.publish(sendCtx, owed.Event); true {`,
		},
		{
			Name:    "owed-event-expires",
			Guard:   "An event that is owed does not expire, however long nothing could send it.",
			File:    dir + "events.go",
			Find:    `s.Store.Ticket(ctx, key, time.Time{})`,
			Replace: `s.Store.Ticket(ctx, key, s.Now())`,
		},
		{
			Name:    "silent-bus-asked-again",
			Guard:   "A bus that does not answer is left alone for a while, so that it costs callers little time.",
			File:    dir + "events.go",
			Find:    `if ctx.Err() != nil {`,
			Replace: `if false {`,
		},
		{
			Name:    "owed-event-names-person",
			Guard:   "After an erasure an event that is owed names neither the person nor the account.",
			File:    dir + "events.go",
			Find:    `e.Event.AccountID, e.userID = "", ""`,
			Replace: `_ = e`,
		},
		{
			Name:    "verification-of-former-credentials-recorded",
			Guard:   "What the platform said of credentials is not recorded of those that a consent brought meanwhile.",
			File:    dir + "verify.go",
			Find:    `if c.ConsentID != consent {`,
			Replace: `if consent == "-" {`,
		},

		// What a caller of token-get receives.
		{
			Name:    "expired-token-served",
			Guard:   "A token that expired while it was read is not returned.",
			File:    dir + "token.go",
			Find:    `case !t.ExpiresAt.IsZero() &&`,
			Replace: `case false &&`,
		},
		{
			Name:    "degraded-token-not-served",
			Guard:   "A token that has not expired is returned although its refresh failed.",
			File:    dir + "token.go",
			Find:    `if failure != nil && (!servable`,
			Replace: `if failure != nil && (true || !servable`,
		},
		{
			Name:    "one-failure-degrades",
			Guard:   "A failure of a refresh degrades a connection only if it lasts, and the third time in a row.",
			File:    dir + "outcome.go",
			Find:    `c.Degraded.Failures >= degradedAfter`,
			Replace: `true`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "finding-of-former-credentials-recorded",
			Guard:   "What a check found is not recorded of the credentials that a consent brought meanwhile.",
			File:    dir + "degraded.go",
			Find:    `c.Status != Active || c.ConsentID != consent {`,
			Replace: `c.Status != Active || consent == "" {`,
		},
		{
			Name:    "renewal-clears-finding",
			Guard:   "A renewal of tokens does not clear what a check of the account found.",
			File:    dir + "degraded.go",
			Find:    `if c.Degraded.Checked && !onlyChecked {`,
			Replace: `if false {`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "check-clears-failing-renewal",
			Guard:   "A check of the account does not clear that the tokens cannot be renewed.",
			File:    dir + "degraded.go",
			Find:    `if c.Degraded.Checked || c.ExpiresAt.IsZero()`,
			Replace: `if true || c.ExpiresAt.IsZero()`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "account-opens-breaker",
			Guard:   "A failure that lasts, and is about one account, does not open the breaker.",
			File:    dir + "breaker.go",
			Find:    `e != nil && !e.lasting() && `,
			Replace: `e != nil && `,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "notice-during-refresh-ignored",
			Guard:   "A token of a connection that a notice marked needs_reauth during the refresh is not returned.",
			File:    dir + "token.go",
			Find:    `failure = c.usable(p)`,
			Replace: `failure = nil`,
		},

		// Consents.
		{
			Name:    "state-taken-twice",
			Guard:   "A state is taken once.",
			File:    dir + "consent.go",
			Find:    `next.Phase = consentTaken`,
			Replace: `next.Phase = consentOpen`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "browser-binding-not-checked",
			Guard:   "A state is taken only by the browser that began the authorization.",
			File:    dir + "callback.go",
			Find:    `if c.ticket.Bound != bound && c.ticket.Bound != hash(browser) {`,
			Replace: `if c.ticket.Bound == bound+"-" {`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "changed-state-accepted",
			Guard:   "The record of an authorization in flight cannot be changed, for example to another owner.",
			File:    dir + "consent.go",
			Find:    `return hash(NewSecret(browser.Reveal() + "\n" + string(body))), nil`,
			Replace: `return hash(NewSecret(browser.Reveal() + "\n" + string(body[:0]))), nil`,

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
			File:    dir + "pending.go",
			Find:    `err = s.revokePending(ctx, p)`,
			Replace: `err = nil`,
		},
		{
			Name:    "orphaned-secret-not-deleted",
			Guard:   "A secret whose writer crashed before the record is deleted.",
			File:    dir + "pending.go",
			Find:    `if err := s.CredentialStore.Delete(ctx, p.credentialsKey(n), CredentialsRef{}, true); err != nil {`,
			Replace: `if err := error(nil); err != nil && n < 0 {`,
		},
		{
			Name:    "refresh-token-of-another-client",
			Guard:   "A new consent without a refresh token gets the one of before only if both are of the same client.",
			File:    dir + "grant.go",
			Find:    ` && old.ClientID == g.Credentials.ClientID && old.ClientID != ""`,
			Replace: ``,
		},
		{
			Name:    "consent-does-not-wait-for-refresh",
			Guard:   "A new consent waits for a refresh that is under way.",
			File:    dir + "lease.go",
			Find:    "if remaining(ctx) < StoreBudget {\n\t\t\treturn Connection{}, errors.New(",
			Replace: "if true {\n\t\t\treturn Connection{}, errors.New(",

			Equivalent: "the late renewal is refused by the record's revision and generation",
		},
		{
			Name:    "consent-takes-generation-of-dead-writer",
			Guard:   "A new consent gets a generation after the one that a crashed writer stored.",
			File:    dir + "grant.go",
			Find:    `max(c.Credentials.Generation, ref.Generation) + 1`,
			Replace: `max(c.Credentials.Generation, 0*ref.Generation) + 1`,

			Equivalent: "the record refers to one version, and a late write is refused by its revision and generation",
		},

		// The sweep, the breaker and the app.
		{
			Name:    "claim-not-conditional",
			Guard:   "Of sweeps that overlap, only the one that claimed a connection adds it to the queue.",
			File:    dir + "sweep.go",
			Find:    "case err == nil:\n\t\t\tclaimed",
			Replace: "case err == nil || errors.Is(err, ErrConflict):\n\t\t\tclaimed",
		},
		{
			Name:    "age-of-import-not-computed",
			Guard:   "An imported token is as old as its end tells, and is refreshed before that.",
			File:    dir + "schedule.go",
			Find:    `earlier(issued, creds.ExpiresAt.Add(-cadence.Lifetime))`,
			Replace: `issued`,
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
			Guard:   "The breaker opens after the failures of several owners in a row, or one refusal of the client.",
			File:    dir + "breaker.go",
			Find:    `case b.ConsecutiveTrips > 0, b.Failures >= breakerThreshold, e.Code == AppMisconfigured:`,
			Replace: `case false:`,
		},
		{
			Name:  "breaker-lets-all-through",
			Guard: "An open breaker allows no call but the probe.",
			File:  dir + "breaker.go",
			Find: `if len(tripped) == 0 {
		return t, nil, nil`,
			Replace: `if true {
		return t, nil, nil`,
		},
		{
			Name:    "previous-secret-for-any-error",
			Guard:   "The previous client secret is tried only if the platform refused the client.",
			File:    dir + "app.go",
			Find:    `case err == nil || !refused(err),`,
			Replace: `case err == nil,`,
		},
		// What the redesign of the refresh repaired.
		{
			Name:    "released-lease-counts-as-held",
			Guard:   "A holder whose lease the next holder acquired and released records no outcome.",
			File:    dir + "lease.go",
			Find:    `return l.Holder != holder }`,
			Replace: `return l.Holder != "" && l.Holder != holder }`,
		},
		{
			Name:    "renewal-activates-deauthorized-connection",
			Guard:   "Only a newer consent makes a connection active again, not a renewal whose writer crashed.",
			File:    dir + "reconcile.go",
			Find:    `if c.renewedBy(creds) {`,
			Replace: `if false {`,
		},
		{
			Name:    "renewal-of-previous-release-taken-for-consent",
			Guard:   "A renewal of the previous release, which stored no consent id, is told by the mark of its exchange.",
			File:    dir + "reconcile.go",
			Find:    `if creds.ConsentID == "" {`,
			Replace: `if false {`,
		},
		{
			Name:    "failed-read-hides-live-token",
			Guard:   "A caller that cannot read the record again still gets a token that lives.",
			File:    dir + "refresh.go",
			Find:    `return c, notFound(err)`,
			Replace: `return fresh, notFound(err)`,
		},
		{
			Name:    "secret-lost-drops-grant",
			Guard:   "New credentials are stored anew where the secret is gone and the connection is not.",
			File:    dir + "grant.go",
			Find:    `ref, err = s.CredentialStore.Put(ctx, c.credentialsKey(), CredentialsRef{}, creds)`,
			Replace: `err = errConnectionNotFound()`,
		},
		{
			Name:    "deleted-secret-created-again",
			Guard:   "A late write never creates a deleted secret again.",
			File:    store + "secrets.go",
			Find:    `if prev.Version == "" {`,
			Replace: `if true {`,
		},
		{
			Name:    "purged-secret-recoverable",
			Guard:   "A late writer after a purge purges.",
			File:    dir + "grant.go",
			Find:    `purge := err != nil ||`,
			Replace: `purge := false &&`,
		},
		{
			Name:    "owner-of-credentials-not-checked",
			Guard:   "Credentials are handed out only for the owner that they were stored for.",
			File:    store + "encoding.go",
			Find:    `(n.Owner == key.Owner || key.Owner == "")`,
			Replace: `true`,

			Packages: []string{"./shared/connectortest"},
		},
		{
			Name:    "credentials-not-rescued",
			Guard:   "Credentials that could not be recorded are stored where the next reader finds them.",
			File:    dir + "grant.go",
			Find:    `if rescueErr := s.CredentialStore.Rescue(ctx, c.credentialsKey(), ref, creds); rescueErr != nil {`,
			Replace: `if rescueErr := error(nil); rescueErr != nil {`,
		},
		{
			Name:    "disconnection-ends-other-connection",
			Guard:   "The grant of a disconnected connection is not revoked while the same person has another connection.",
			File:    dir + "disconnect.go",
			Find:    `if other.ID != c.ID {`,
			Replace: `if other.ID == "" {`,
		},
		{
			Name:    "breaker-probes-not-exclusive",
			Guard:   "Of the callers of an open breaker one probes at a time.",
			File:    dir + "breaker.go",
			Find:    `c.OpenUntil = now.Add(breakerProbe).UTC()`,
			Replace: `_, _ = c, breakerProbe`,
		},
		{
			Name:    "one-owner-opens-breaker",
			Guard:   "The failures of one owner open the breaker for that owner alone.",
			File:    dir + "breaker.go",
			Find:    `if !slices.Contains(b.FailedOwners, t.owner) && len(`,
			Replace: `if len(`,
		},
		{
			Name:    "client-of-import-opens-breaker-of-app",
			Guard:   "What a platform answers to the client of an import says nothing about the app, nor about other owners.",
			File:    dir + "breaker.go",
			Find:    `if creds.ClientID != "" {`,
			Replace: `if true {`,
		},
		{
			Name:    "import-opens-breaker",
			Guard:   "The refused client of an import does not open the breaker of the app.",
			File:    dir + "refresh.go",
			Find:    `a.credentials.ClientID == ""`,
			Replace: `false && a.credentials.ClientID == ""`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "new-app-keeps-breaker-open",
			Guard:   "A newly stored app is called at once, whatever the breaker recorded of the app before.",
			File:    dir + "app_put.go",
			Find:    `if err := s.closeBreaker(ctx, name); err != nil {`,
			Replace: `if err := error(nil); err != nil {`,
		},
		{
			Name:    "late-check-replaces-newer-consent",
			Guard:   "A check that confirms credentials does not replace newer ones.",
			File:    dir + "outcome.go",
			Find:    `case c.Credentials.Generation > ref.Generation, changed`,
			Replace: `case changed`,
		},
		// What credentials must prove.
		{
			Name:    "account-of-import-not-asked",
			Guard:   "After the first exchange of an import the platform is asked whose the new tokens are.",
			File:    dir + "proof.go",
			Find:    `imported && before.AccountID == ""`,
			Replace: `false && imported && before.AccountID == ""`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "unconfirmed-token-handed-out",
			Guard:   "Renewed tokens of an import are not handed out before the platform named their account.",
			File:    dir + "account.go",
			Find:    `return creds.AccountOwed && !c.accountUnknown()`,
			Replace: `return false`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "changed-account-not-marked",
			Guard:   "A refresh whose answer names another account marks the connection.",
			File:    dir + "outcome.go",
			Find:    `case c.accountChanged(a.renewed):`,
			Replace: `case false:`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "changed-account-not-reconciled",
			Guard:   "Tokens of another account, whose writer crashed before the record, mark the connection.",
			File:    dir + "reconcile.go",
			Find:    `if c.accountChanged(creds) {`,
			Replace: `if false {`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "app-keys-lent-without-proof",
			Guard:   "The app's keys are handed out only with credentials that the platform accepted with them.",
			File:    dir + "proof.go",
			Find:    `s.WithholdAppKeys || !s.appProven(p, app, creds)`,
			Replace: `s.WithholdAppKeys`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "refresh-without-app-proves-key",
			Guard:   "A refresh that takes no key of the app proves none.",
			File:    dir + "proof.go",
			Find:    `before.ClientID == "" && refreshProvesKey(a.platform)`,
			Replace: `before.ClientID == ""`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "signed-without-proof",
			Guard:   "The app's keys sign only for credentials that the platform accepted with them.",
			File:    dir + "sign.go",
			Find:    `if s.appProven(p, app, creds) {`,
			Replace: `if true {`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "another-key-marks-connection",
			Guard:   "A refusal of keys that were verified with another key of the app marks no connection.",
			File:    dir + "refresh.go",
			Find:    `if a.verifiedWithAnotherKey() {`,
			Replace: `if false {`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "breaker-written-before-the-credentials",
			Guard:   "No write comes between the platform's answer and the storing of the credentials.",
			File:    dir + "refresh.go",
			Find:    `defer a.recordWithBreaker(ctx, nil)`,
			Replace: `a.recordWithBreaker(ctx, nil)`,
		},
		{
			Name:    "suspended-token-handed-out",
			Guard:   "What hands out a token asks last whether it is suspended, since a refresh takes time.",
			File:    dir + "token.go",
			Find:    "if err := s.checkSuspended(ctx, c); err != nil {\n\t\treturn Token{}, err",
			Replace: "if err := error(nil); err != nil {\n\t\treturn Token{}, err",
		},
		{
			Name:    "suspended-connection-signs",
			Guard:   "Nothing is signed for a connection that was suspended during the call.",
			File:    dir + "sign.go",
			Find:    `if err := s.checkSuspended(ctx, c); err != nil {`,
			Replace: `if err := error(nil); err != nil {`,
		},
		{
			Name:    "resting-connection-refreshed",
			Guard:   "The platform is not called for a connection that rests, also where the suspension came after the lease.",
			File:    dir + "refresh.go",
			Find:    `if err := a.checkResting(ctx, a.connection); err != nil {`,
			Replace: `if err := error(nil); err != nil {`,
		},
		{
			Name:    "second-tab-revokes-at-once",
			Guard:   "The grant of a second tab on one link is discarded if it is the person's whom the first tab connected, and is not revoked.",
			File:    dir + "complete.go",
			Find:    `case errors.Is(err, LinkGone):`,
			Replace: `case false:`,
		},
		{
			Name:    "second-tab-of-same-person-revoked",
			Guard:   "Two tabs of one person on one link end as one connection.",
			File:    dir + "consent_end.go",
			Find:    `case winner.Person != "" && c.userID != ""`,
			Replace: `case false && c.userID != ""`,
		},
		{
			Name:    "redeemed-not-stored",
			Guard:   "What a code yielded is stored before the platform is asked for the accounts.",
			File:    dir + "callback.go",
			Find:    `if err := c.storeRedeemed(ctx); err != nil {`,
			Replace: `if err := error(nil); err != nil {`,
		},
		{
			Name:    "redeemed-not-rescued",
			Guard:   "What a code yielded is stored in the vault where the table takes no writes.",
			File:    dir + "callback.go",
			Find:    `if rescueErr := c.CredentialStore.Rescue(`,
			Replace: `if rescueErr := func(context.Context, CredentialsKey, CredentialsRef, Credentials) error { return nil }(`,
		},
		{
			Name:    "saved-consent-saved-again",
			Guard:   "A consent that continues after a crash does not replace the credentials that it has saved, which may be renewed since.",
			File:    dir + "complete.go",
			Find:    `return existing.ConsentID == c.name() || later`,
			Replace: `return later`,
		},
		{
			Name:    "link-not-reserved",
			Guard:   "A consent whose link is gone replaces no credentials.",
			File:    dir + "grant.go",
			Find:    `if err := to.consent.reserveLink(ctx); err != nil {`,
			Replace: `if err := error(nil); err != nil {`,
		},
		{
			Name:    "expired-consent-not-renewed",
			Guard:   "A consent that continues after its access token expired renews it first.",
			File:    dir + "complete.go",
			Find:    `err := c.renewExpired(ctx)`,
			Replace: `err := error(nil)`,
		},

		// Purges and erasures.
		{
			Name:    "purge-not-marked",
			Guard:   "A purge is marked before anything is deleted, so that late writers and the sweep purge.",
			File:    dir + "disconnect.go",
			Find:    `c.Purge = purge`,
			Replace: `c.Purge = false && purge`,
		},
		{
			Name:    "purge-leaves-no-ticket",
			Guard:   "A purge leaves a ticket for a secret that a late writer creates before it crashes.",
			File:    dir + "disconnect.go",
			Find:    `Put: []Ticket{ticket}}`,
			Replace: `Put: []Ticket{ticket}[:0]}`,
		},
		{
			Name:    "erasure-runs-once",
			Guard:   "An erasure searches once more for what the index of persons did not show.",
			File:    dir + "erasure.go",
			Find:    `deleted, e.ReceivedAt.Add(lateWriterLife))`,
			Replace: `deleted, time.Time{})`,
		},
		{
			Name:    "erased-consent-saved",
			Guard:   "A callback of a consent that began before an erasure is refused.",
			File:    dir + "complete.go",
			Find:    `err = c.checkErased(ctx, c.record.Platform, grants)`,
			Replace: `err = nil`,
		},
		{
			Name:    "erased-consent-confirmed",
			Guard:   "A consent that waits for its confirmation is ended by an erasure.",
			File:    dir + "erasure.go",
			Find:    `erase = s.eraseConsent`,
			Replace: `erase = func(context.Context, erasure, RecordKey) (bool, error) { return false, nil }`,
		},
		{
			Name:    "erasure-ends-newer-consent",
			Guard:   "An erasure has no effect on a consent that began after it.",
			File:    dir + "erasure.go",
			Find:    `return consented.After(e.ReceivedAt) || `,
			Replace: `return false && `,
		},
		{
			Name:    "person-named-late-not-erased",
			Guard:   "A connection whose person becomes known after their erasure is deleted.",
			File:    dir + "verify.go",
			Find:    `err = s.eraseNamed(ctx, verified)`,
			Replace: `err = nil`,

			Equivalent: "where a platform sends data deletions, the check before the verification names the person and deletes the connection first",
		},
		{
			Name:    "former-versions-stay",
			Guard:   "No former version of a secret holds credentials of another person.",
			File:    dir + "grant.go",
			Find:    `c.ForgetSecret = c.ForgetSecret || c.mustForget(g)`,
			Replace: `_ = c.mustForget(g)`,
		},
		{
			Name:    "notice-at-two-routes",
			Guard:   "What was taken as a notice of one kind is refused as one of another.",
			File:    dir + "notice.go",
			Find:    `if err == nil && taken.Kind == kind {`,
			Replace: `if true {`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "notice-checked-late",
			Guard:   "The form and the time of a notice are checked before the app is read.",
			File:    dir + "notice.go",
			Find:    `if err := noticer.CheckNotice(kind, raw); err != nil {`,
			Replace: `if err := error(nil); err != nil {`,

			Packages: []string{"./shared/handler"},
		},

		{
			Name:    "applied-notice-applied-again",
			Guard:   "A notice that changed connections changes none when it comes again.",
			File:    dir + "notice.go",
			Find:    `return taken.Applied, nil`,
			Replace: `return false, nil`,

			Packages: []string{"./shared/handler"},
		},

		// Another client of the operator.
		{
			Name:    "another-person-by-another-client",
			Guard:   "A consent to another client re-authorizes no connection that the platform says is another person's.",
			File:    dir + "stable_id.go",
			Find:    `return c.StableID == g.StableID, nil`,
			Replace: `return true, nil`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "another-account-of-the-same-client",
			Guard:   "A consent to the client of a connection re-authorizes it for no other account.",
			File:    dir + "stable_id.go",
			Find:    `return creds.ClientID != clientID`,
			Replace: `return true`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "second-connection-by-another-client",
			Guard:   "An owner has one connection to an account that another client sees under another id.",
			File:    dir + "stable_id.go",
			Find:    `if c.StableID == g.StableID {`,
			Replace: `if false {`,

			Packages: []string{"./shared/handler"},
		},

		{
			Name:    "another-account-id-rescued-early",
			Guard:   "Credentials for another id of the account are not in the vault before the record names that id.",
			File:    dir + "grant.go",
			Find:    `if c.changesAccount(g) {`,
			Replace: `if false {`,
		},
		{
			Name:    "another-account-id-stored-early",
			Guard:   "Credentials for another id of the account that cannot be sealed are not stored in the vault first.",
			File:    dir + "forget.go",
			Find:    `if c.changesAccount(g) {`,
			Replace: `if false {`,
		},
		{
			Name:    "former-account-id-hides-credentials",
			Guard:   "A secret that is still bound to the former id of the account does not hide the credentials of the record.",
			File:    store + "secrets.go",
			Find:    `len(ref.Sealed) > 0 && ofFormerAccount(key, value)`,
			Replace: `false`,
		},

		// Imports.
		{
			Name:    "spent-file-sent-again",
			Guard:   "The refresh token of a file that was imported or handed out before is neither sent nor stored while its connection stands.",
			File:    dir + "import_token.go",
			Find:    `standing = &c`,
			Replace: `_ = c`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "handed-out-token-forgotten",
			Guard:   "A refresh token is remembered before it is handed out.",
			File:    dir + "token.go",
			Find:    `if err := s.rememberHandedOut(ctx, p, c, creds); err != nil {`,
			Replace: `if err := error(nil); err != nil {`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "two-imports-send-one-token",
			Guard:   "Of imports of one file at once, one sends its refresh token.",
			File:    dir + "import_token.go",
			Find:    `case t.Now().Before(other.Until):`,
			Replace: `case false:`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "refresh-token-of-two-owners",
			Guard:   "Two owners do not share a refresh token that works once.",
			File:    dir + "import_token.go",
			Find:    `case t.shared && t.platform.Describe().Cadence.Model == Rotating:`,
			Replace: `case false:`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "import-replaces-what-works",
			Guard:   "An import replaces active credentials only if the platform said that they are older or do not work.",
			File:    dir + "import.go",
			Find:    `case c.Status != Active, i.renewed(g):`,
			Replace: `case true:`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "renewed-import-stored-late",
			Guard:   "What the verification of an import renewed is stored before anything else.",
			File:    dir + "import.go",
			Find:    `i.storeRenewed(ctx, grants)`,
			Replace: `_ = i.storeRenewed`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "crashed-import-deleted",
			Guard:   "The sweep finishes an import that crashed after its credentials were stored.",
			File:    dir + "pending.go",
			Find:    `if p.Imported && !p.Erased {`,
			Replace: `if false {`,
		},
		{
			Name:    "stand-in-ends-what-works",
			Guard:   "Where the connection that remains does not work, it gets the credentials of the stand-in.",
			File:    dir + "standin.go",
			Find:    `if known.Status != NeedsReauth || `,
			Replace: `if true || `,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "stand-in-grant-revoked",
			Guard:   "The grant of a stand-in whose account another connection has is not revoked.",
			File:    dir + "standin.go",
			Find:    `next.StatusReason = reasonSameAccount`,
			Replace: `next.StatusReason = reasonRevocationPending`,

			Packages: []string{"./shared/handler"},
		},

		// Consents with many accounts.
		{
			Name:    "choice-of-other-accounts",
			Guard:   "Only accounts that the consent gives access to can be chosen.",
			File:    dir + "choose.go",
			Find:    `if len(wanted) > 0 {`,
			Replace: `if false {`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "confirmation-beyond-the-choice",
			Guard:   "The product confirms only accounts that the person chose.",
			File:    dir + "choose.go",
			Find:    `return c.remainingGrants(grants), theirs, err`,
			Replace: `return grants, theirs, err`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "choice-waits-forever",
			Guard:   "A consent from which nothing was chosen in time is revoked.",
			File:    dir + "complete.go",
			Find:    `case consentChoosing, consentWaiting:`,
			Replace: `case consentWaiting:`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "covered-account-marked",
			Guard:   "A consent marks no connection whose account it covers.",
			File:    dir + "coverage.go",
			Find:    `ids[other.AccountID] || `,
			Replace: ``,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "working-connection-renewed",
			Guard:   "A re-authorization renews only those other connections of the person that need it.",
			File:    dir + "complete.go",
			Find:    `other.Status == NeedsReauth && other.ID != target.ID`,
			Replace: `other.ID != target.ID`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "accounts-saved-in-a-burst",
			Guard:   "A consent creates ten secrets a second at most.",
			File:    dir + "save.go",
			Find:    `time.Duration(i)*time.Second/saveRate`,
			Replace: `0`,
		},
		{
			Name:    "new-accounts-last",
			Guard:   "Accounts without a connection are saved first.",
			File:    dir + "complete.go",
			Find:    `return rank[a.Account.ID] - rank[b.Account.ID]`,
			Replace: `return 0`,
		},
		{
			Name:    "credits-end-consent",
			Guard:   "A consent that the spent credits of the app hold up is kept for longer than one that the platform holds up.",
			File:    dir + "consent_end.go",
			Find:    `longest = operatorWait`,
			Replace: `longest = revokePendingFor`,

			Packages: []string{"./shared/handler"},
		},
		{
			Name:    "link-of-waiting-consent-forgotten",
			Guard:   "The status of a link is kept as long as a consent of it waits for the operator.",
			File:    dir + "link_status.go",
			Find:    `later(l.Link.ExpiresAt.Add(linkStatusLife), l.KeptUntil)`,
			Replace: `l.Link.ExpiresAt.Add(linkStatusLife)`,

			Packages: []string{"./shared/handler"},
		},
	}
}
