// Package connector is the domain: it takes people through the consent of a
// social platform, stores and refreshes the resulting credentials, and hands them
// out. It knows neither AWS nor HTTP, and imports the standard library alone.
//
// A [Service] does all of it, over six ports: [Platform] (one dialect each),
// [Store] (records), [CredentialStore] (credentials), [AppStore] (the operator's
// apps), [Queue] and [Events].
//
// # Where to read
//
// Each use case is one file, named after it: link, link_show, start, callback,
// choose, confirm, token, sign, refresh, sweep, import, list, verify, usage, disconnect,
// notice, erasure, app, suspension. Its tests are beside it. Twenty-three files hold what several
// use cases share:
//
//	grant.go          saves a grant: creates a connection or replaces its credentials
//	reconcile.go      repairs a record after a crash
//	lease.go          the lease, and commit, by which most use cases write a record
//	pending.go        credentials that no connection refers to yet
//	import_token.go   what is remembered of refresh tokens that others hold
//	import_finish.go  finishes an import that crashed
//	standin.go        makes two connections to one account one
//	forget.go         deletes the former versions of a secret
//	proof.go          decides which credentials get the keys of the app
//	account.go        checks the account of renewed tokens
//	stable_id.go      finds the connection of an account that another client saw
//	link_status.go    the status of a link
//	budget.go         how much a link, a consent and an owner may use
//	consent.go        the record of a consent, from its state to its end
//	complete.go       completes a consent whose code was redeemed
//	consent_link.go   writes what a consent does to its link
//	consent_end.go    ends a consent that is not saved, or puts it off
//	account_list.go   lists the accounts of a consent; several callers may share a long list
//	save.go           saves the accounts of a consent, in parts where they are many
//	coverage.go       finds the connections that a consent ended
//	parallel.go       calls a function for several items at once
//	degraded.go       records failures that do not pass by themselves
//	events.go         stores events until the bus has accepted them
//
// A refresh is refresh.go from top to bottom: the loop of a caller, then one
// attempt, whose method run is the protocol. outcome.go records how the attempt
// ended. budgets.go has every time limit of the domain. GUARDS.md lists each
// guard with the tests that fail without it.
//
// # Words
//
//	platform      the service behind an authorization
//	app           the operator's OAuth client on a platform
//	owner         the customer of the operator's product that a connection belongs to
//	account       what was authorized on the platform: a Page, a channel, a profile
//	person        who consented; named by Connection.UserID
//	stable id     of an account: the same for each client of the operator, on a platform
//	              where the account id is not
//	connect link  starts an authorization; minted for one owner
//	authorization one way through the platform's pages, named by its state
//	state         the random value that names an authorization; good once, in one browser
//	consent       what a person agreed to; it yields one or more grants
//	grant         what a consent yielded for one account, not saved yet
//	connection    the stored record of one account of one owner; it holds no secret
//	credentials   the secret fields that prove a grant
//	generation    the number that orders the credentials of a connection
//	reference     where a record's credentials are (CredentialsRef)
//	stale         of a reference: the credentials should be stored again elsewhere,
//	              since they are sealed into the record for want of a better place
//	late          of a writer or a result: newer credentials are recorded, another
//	              holder acquired the lease, or the connection is gone
//	redeemed      of a code: the platform returned what it yields; of a consent: that is
//	              stored in its record
//	complete      of a redeemed consent: ask for the accounts, and save them
//	choosing      of a consent: it is redeemed, and the person chooses among its accounts
//	incomplete    of a grant: its account is known, and its token must be asked for
//	covered       of an account: the person's authorization of the app includes it
//	hand over     leave the other accounts of a consent to the worker
//	waiting       of a consent: it is redeemed, and its owner has not confirmed it
//	pending       of credentials: they are stored, and no connection refers to them yet
//	purge         delete the credentials and the record of a connection for good
//	erasure       delete everything of a person for good, as they asked the platform to
//	orphaned      of a secret: its writer crashed before it wrote the record
//	stand-in      a connection whose account no platform has named yet
//	ticket        a record that expires
//	link status   what became of a connect link; outlives the link by a day
//	budget        how often one link, consent or owner may use what all share
//	charge        what one request takes from a budget
//	exchange      one call that shows a code or a refresh token to the platform
//	attempt       one try to refresh a connection, by the holder of its lease
//	mark          Connection.Attempt: written before an exchange, cleared after it
//	lease         the sole right to refresh one connection until an instant
//	reconcile     make the record refer to the newest credentials after a crash
//	refusal       a platform's answer that a grant or an app is not accepted
//	proven        of credentials: the platform accepted them with the key that the
//	              app has now (VerifiedKey)
//	owed          of renewed tokens of an import: the platform must still be asked
//	              for their account (AccountOwed); of an event: the bus has not accepted
//	              it yet (owedEvent)
//	lasting       of a failure: it does not pass by itself
//	degraded      of an active connection: it has a lasting failure; of a token: its
//	              connection is degraded, or its refresh failed
//	breaker       stops the calls of a client that the platform refuses or cannot serve:
//	              for everybody, or for one owner whose calls alone fail
//	suspension    withholds the tokens of one connection, owner or platform, or of
//	              all, until the operator deletes it; with rest, nothing of them is
//	              refreshed either
//	probe         the one call that a breaker allows to find out whether calls succeed
//	sweep         one run of the schedule: it claims what is due and queues it
//	claim         moves a due record out of the way of the next sweep; of a refresh
//	              token: the sole right to send it with an import
//	worker        takes records from the queue and refreshes or ends them
//
// # Invariants
//
// I1. Credentials are written before the record that refers to them. A record refers
// only to durable credentials. An event is sent after the record is written.
//
// I2. Every write of a record is conditional on the revision that was read. A
// late writer reads again and decides on the record as it is now. A claim changes
// only when the record is due, and only if no other writer changed that. The lease
// protects the exchange, not the record: a notice, a disconnection, a check or a
// consent writes the record while another caller holds the lease. Only what goes
// through release needs the lease.
//
// I3. At most one exchange of a connection's refresh token is in flight. The
// lease that allows the exchange is written together with its mark, so that a
// holder that crashes leaves the mark.
//
// I4. No exchange begins with less time left than the exchange and the storing
// of its result could need. No exchange is cancelled because its caller left.
//
// I5. A connection is marked needs_reauth only if the platform refuses its grant
// or sends a notice that ends it, if its token expired and nothing can renew it,
// if a later consent of the same person left its account out, or if a refresh returned
// the tokens of another account. A refusal marks only if
// the refused credentials, read again, are still the newest or are gone, and no
// other holder acquired the lease. A notice marks only if it is not older than the
// credentials, and if the same notice marked nothing before. The refusal of an app
// marks no connection.
//
// I6. A token that still lives is handed out even if it could not be renewed,
// unless the connection is marked needs_reauth, was refreshed by force too often,
// or has tokens whose account is not confirmed (I16). An expired token is never
// handed out.
//
// I7. Credentials that are stored and that the record does not refer to, because
// a writer crashed in between, are used by the next refresh, and by the next
// token-get if the connection is marked needs_reauth. The platform is not called.
// Only a newer consent, an import or a successful Verify makes such a connection
// active again; a renewal does not.
//
// I8. Newer credentials are never replaced by older ones: each has its
// generation, and the reference names exactly one.
//
// I9. A single-use refresh token whose exchange has no known outcome is not
// shown again while the access token works.
//
// I10. A deleted connection stays deleted, and a purged secret stays purged: each
// late writer purges what it stored, and is told that there is no such connection.
// A grant that arrives later is revoked, once, unless the platform cannot do that
// or the person has another connection.
//
// I11. Links and states are random, stored as hashes, and expire by our clock. A
// state is taken once, and is good only in the browser that began it, which gets the
// first answer again. The code verifier and the confirmation are derived from the
// state and the cookie, and stored nowhere. A link is spent by the consent that has
// it: in the transaction that creates its first connection, or before the credentials
// of an existing one are replaced.
//
// I12. A consent that must be confirmed is not a connection until its owner
// confirms it, once and in time. Otherwise it is revoked and deleted. An account that
// the person or the owner did not choose is in no record of a connection and in no
// event. Its grant is not revoked if that would end the grants of the chosen accounts.
//
// I13. Every secret belongs to a record. A ticket is written before the secret
// that no record refers to yet, and is deleted once one does. By the tickets that
// are left, the sweep finds secrets without a record and deletes them. A purge
// leaves a ticket for what a late writer may store.
//
// I14. After the second run of an erasure no record names the person, and no secret
// holds a token of theirs, in any version, unless they consented after they asked.
// A consent that began before is refused meanwhile. An event that is still owed names
// the connection and its owner, and not the account.
//
// I15. A secret holds, in all of its versions, credentials of one person, or the
// record says that it is to be deleted.
//
// I16. Tokens that an exchange of imported credentials returned are used for a
// known account only after the platform named that account. The credentials are
// stored before it is asked.
//
// I17. The keys of an app are handed out, and sign, only with credentials that the
// platform accepted with the key that the app has now. The credential store says
// so, not the record.
//
// I18. Every event but Connection Refreshed is written in the transaction of the change
// that it tells of, with all that is sent, and is deleted only after the bus accepted it.
// So it is sent at least once, whatever fails or crashes, and also if the connection is
// purged meanwhile. The event of a used quota, which changes no record, is written before
// the mark that it was told. A failure to send undoes nothing, and costs the caller little
// time.
//
// I19. A refresh token that came in by an import, or went out, is remembered before
// the platform sees it, or before it goes out. While its connection stands it is
// sent by that connection's refreshes alone.
//
// I20. An import replaces the credentials of an active connection only if the
// platform renewed those of the import, if no refresh spends them and the platform
// accepted them, or if it said that those of the connection do not work.
//
// I21. Two connections of an owner to one account become one. It has the credentials
// that worked when the platform was asked last. A consent to another client of the
// operator is saved on the existing connection of the account, if the platform returns
// the stable id of the account.
//
// I22. What a code yielded is stored in the record of the consent before anything else.
// From then on the consent ends: with its connections, or in a failure that the record
// holds, after which the grant is revoked and the link is good. A grant of the person
// who was connected by the same link is discarded and not revoked.
//
// I23. Only a lasting failure degrades a connection: three refreshes in a row that
// fail so, or one check of its present credentials. The connection stays active, and a
// token that still lives is handed out. The refusal of the operator's app degrades no
// connection. A lasting failure of one account does not open the breaker.
//
// # Outcomes of an attempt
//
//	outcome      what happened                     what is written                         who is told
//	not sent     nothing reached the platform,     lease released, mark as before; no      the caller
//	             also where it rests               mark if newer credentials were found
//	renewed      new credentials                   credentials; then reference, times,     Connection Refreshed,
//	                                               scopes, no mark, lease released         Connection Expiring
//	unchanged    the same credentials, confirmed   as renewed, without credentials;        Connection Expiring
//	                                               verified_at. A proof that they lacked
//	                                               is stored, as a new generation
//	account owed new credentials of an import      as renewed, but the lease stays; then   the caller, where the platform
//	                                               the account, lease released             does not answer
//	account      credentials of another account    credentials; then reference,            Reauthorization Required
//	changed                                        needs_reauth (account_changed)
//	transient    the platform or network failed    failures + 1, code, retry times; mark   the caller; with a live
//	                                               stays uncertain if no answer came;      token: degraded; the breaker,
//	                                               the third lasting failure in a row:     unless it is lasting;
//	                                               degraded                                Connection Degraded
//	app refused  the platform refused the app,     code; failures as before                the caller; the breaker, unless
//	             or another app is stored                                                  another app is stored;
//	                                                                                       with a live token: degraded
//	grant dead   the platform refused the grant    needs_reauth with its reason, no mark   Reauthorization Required
//	late         newer credentials are recorded,   nothing; after a disconnection the      the caller
//	             or the connection is gone         grant is revoked, the secret deleted
//
// The mark is uncertain after a transient failure if no answer came, or if it was
// uncertain before. Credentials that neither the vault nor the sealer takes until
// the deadline are lost: the caller gets Internal, and the lease and its mark stay
// as a crash would leave them. record writes the outcomes; each has a case there.
//
// # States, and who may write each transition
//
//	lease       free → held            acquireLease, if the record did not move since awaitTurn or
//	                                   awaitLease read that no holder has it
//	            held → free            release by its holder; the commit of its result;
//	                                   markDisconnected and eraseConnection, whoever holds it
//	            held → held by other   acquireLease, once it ran out; a holder whose lease ran out
//	                                   and that no other replaced may still record its outcome
//	mark        none → uncertain       acquireLease, on platforms that rotate refresh tokens
//	            uncertain → none       commitRenewed; applyGrant; markNeedsReauth; disconnect
//	            uncertain → failed     recordFailure; it stays uncertain if no answer came
//	            uncertain → as before  abort; none if newer credentials were found, or if the record could
//	                                   not be read again after a refusal
//	            moves to newer         reconcile, by the holder of the lease
//	generation  n → n + 1              exchange, if the fields changed; nextGeneration, for a consent
//	reference   → newer                commitRenewed, replaceOnce, reconcile: only to a higher generation
//	            stale → moved          moveStale: the same generation
//	consent     open → taken           take, by one callback of its browser
//	            taken → redeemed       storeRedeemed; continueRedeemed, where the vault has what the code yielded
//	            redeemed → choosing    awaitChoice, of a link with choose
//	            choosing → redeemed    choose
//	            redeemed → waiting     wait, of a link with confirm
//	            waiting → redeemed     confirm
//	            redeemed → done        spendLink, with the only connection; recordSaved, after the last one;
//	                                   lose, where another consent has the link
//	            any → done             fail; expire, if it was not confirmed, or nothing was chosen; eraseConsent
//	link        open → spent           spendLink, reserveLink
//	            open → connected       spendLink, with the only connection; recordSaved
//	            open → confirming      wait
//	            confirming → spent     confirm
//	            spent → connected      recordSaved; failed, after a failure that is final: recordSaved, or fail
//	                                   where an earlier caller saved something
//	            spent → open           writeFailed, if nothing was saved; eraseConsent
//	            any but connected → ended   EndLink; of a link that is spent, once its consent failed
//	status      (new) → active         createConnection; createFinished
//	            (new) → manual         createManual
//	            active → needs_reauth  markNeedsReauth; applyNoticeTo, also by markUncovered; applyRenewed, applyReconciled
//	                                   and recordAccountChanged, for another account
//	            needs_reauth → active  applyGrant (a consent or an import); applyReconciled (a crashed consent);
//	                                   storeVerified (the platform says that it works)
//	            manual → active        applyGrant
//	            any → disconnected     markDisconnected; eraseConnection; endStandIn
//	            disconnected → purged  markDisconnected, eraseConnection; then purge deletes the record
//	degraded    no → yes               recordFailure, at the third lasting failure in a row;
//	                                   recordFinding, of a check
//	            yes → no               commitRenewed, unless a check found it and the tokens were renewed;
//	                                   storeVerified, unless only renewals fail; storeConfirmed; applyGrant;
//	                                   applyReconciled; whatever ends active
//
// commit sets no RefreshAt on a connection that is marked needs_reauth: nothing of
// it is due. Whoever makes it active again sets one, by applyCredentials or, in
// storeVerified, to now; otherwise no sweep would find it. disconnect sets one
// until the disconnection is finished.
//
// # Crashed here, repaired there
//
//	crashed after                              repaired by
//	acquireLease, before the exchange          the next caller, once the lease ran out; the mark says that
//	                                           the token may be spent, so it waits until the access token is
//	                                           expired (mustNotReplay), and then it tries once more
//	the platform's answer, before Put          nothing: the rotated token existed in one process only; the next
//	                                           refusal ends in needs_reauth, reason rotation_lost
//	Put of renewed credentials                 reconcile, at the next refresh; nothing where they were sealed
//	                                           and the record was not written, as before Put
//	commit of credentials whose account        the next token-get, Verify or due refresh: AccountOwed is stored
//	is owed                                    with the credentials
//	Put of a consent for a connection          the next refresh; reconcileConsent, at the next token-get, if
//	                                           the connection is marked needs_reauth: within reconcileFor,
//	                                           or later by the lease that the writer left. A manual
//	                                           connection stays manual, and the person consents again
//	Put of a new connection's credentials      endPending, by the worker: deleted; the consent is completed
//	Put of an import's credentials             finishPending, by the worker or the next import of the file: the
//	                                           connection is created
//	a claim of a refresh token                 the next import of the file, once the claim ran out
//	endStandIn                                 finishDisconnect, by the worker: moveCredentials
//	take, before the platform's answer         continueConsent, by the worker: the consent fails, and the link is good
//	the platform's answer to a code, before    nothing: what the code yielded existed in one process only; the link
//	storeRedeemed                              is good
//	storeRedeemed, and whatever follows it     continueConsent, by the worker, or the next callback of the browser:
//	                                           resume; what was saved is recognized by its consent id
//	storeRedeemed, held up until another       nobody: what it had put into the vault stays there; without the
//	caller ended the consent                   crash discardLate deletes it
//	confirm, choose                            continueConsent, or the next Confirm or Choose
//	storeAccounts                              the next caller continues the list of accounts
//	recordProgress of a large consent          continueConsent: the accounts that are left
//	handOver, before the message was sent      continueConsent, by the next sweep
//	the lease of a consent, before Put         the next caller, once the lease ran out
//	a commit whose answer was lost             the reader that compares the holder or the consent id
//	lose                                       continueConsent, after confirmationLife: revoked, unless the person
//	                                           has a connection
//	fail, before the revocation                continueConsent: revokeLater
//	a claim, before the message was sent       the next sweep after ClaimLife
//	markDisconnected, also to purge            finishDisconnect, by the worker
//	Put, late, after a purge                   endPending, by the ticket that the purge left
//	recordErasure                              eraseDue, by the worker
//	the mark of a connection to be erased      finishDisconnect, by the worker
//	Hold, before the former secret was deleted the next refresh: forgetFormer
//	a change, before its event was sent        sendDue, by the worker
//	the sending of an event, before its        sendDue, which sends it again
//	ticket was deleted
//	the event of a used quota, before its mark sendDue; the next caller owes it again, with the same id
//
// # Time budgets
//
// An invocation that exchanges has ExchangeBudget (10 s) for the platform and
// StoreBudget (5 s) for storing the answer; the last rescueBudget of it is for
// credentials that could not be recorded. The lease lasts to the deadline of the
// invocation and LeaseMargin (5 s) longer, so that no holder outlives its lease.
// A consent is held as long. consentSlack (5 s) later the sweep continues it. A caller
// that saves many accounts hands the rest over AnswerReserve (8 s) before its deadline.
// A worker begins no refresh that could not end in time. A claim lasts
// ClaimLife (12 min), longer than a message waits and a worker runs.
// insufficientTime is the check before an exchange; TestFunctions_Timeout in
// infra/blueprint ties these times to the timeouts of the functions.
package connector
