package connector

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"
)

// CallbackRequest is what the browser brought back from the platform.
type CallbackRequest struct {
	Platform    Name // of the path
	State, Code Secret
	// Browser reads a cookie. It returns the empty Secret where there is none.
	Browser func(cookieName string) Secret
	// Issuer is the parameter iss, as it came.
	Issuer string
	// Refusal has the RefusalParameters that came, as they came.
	Refusal Refusal
}

// CallbackResult is what became of an authorization. ReturnURL is set, also
// beside an error, once the state was accepted and if the link has one; nothing
// is added to it yet.
type CallbackResult struct {
	ReturnURL string
	Platform  Description
	Saved
	// Confirmation is what Confirm takes; empty where the link does not ask
	// for that. With it there are no Connections yet.
	Confirmation Secret
	// Choices are the accounts to choose from: Choose takes one or more of them, until
	// ChooseBefore. They are nil if the link has no choice. With them there are no
	// Connections yet.
	Choices      []AccountChoice
	ChooseBefore time.Time
}

// Saved is what a consent connected.
type Saved struct {
	// Connections are the first ones, 100 at most.
	Connections []Connection
	// Connected is how many accounts are connected. Accounts is how many will be: the
	// worker connects the rest. LeftOut is how many more accounts the consent named
	// although the platform does not give access to them.
	Connected, Accounts, LeftOut int
	// Link is the id of the link, which lists the connections.
	Link string
}

// Callback ends an authorization: it takes the state, redeems the code and
// saves one connection an account, or stores what was granted until Confirm.
// When it returns nil the credentials are durable and the records, if any,
// refer to them. On error the only connections that have changed are those whose grant
// the consent replaced on the platform. A late grant, or one for another account, is
// revoked unless that would end another connection.
//
// What the code yielded is stored before anything else. After a failure that
// passes, Callback fails with the code of that failure, and the sweep or the next
// callback of the same browser continues. A callback that comes again from the
// browser that began the authorization gets the first answer again.
//
// It fails with StateInvalid, AccessDenied, ScopeMissing, AccountMismatch,
// LinkGone, RateLimited where a budget is used up, and what the platform answers
// to the code.
func (s *Service) Callback(ctx context.Context, r CallbackRequest) (CallbackResult, error) {
	c, err := s.findConsent(ctx, r)
	if err != nil {
		return CallbackResult{}, err
	}
	result := c.result()
	if c.record.Phase == consentOpen && !r.Code.Empty() {
		// Before the code is spent: nothing can be lost yet.
		s.nameStandIns(ctx, c.platform, c.record.Owner, s.lookUp)
	}
	// The code is spent soon: the work is done even if the browser has gone.
	ctx, cancel := detachedContext(ctx)
	defer cancel()
	if err := c.bringToAnswer(ctx, r); err != nil {
		return result, withOtherAccount(result.Platform, err)
	}
	result, err = c.answer(ctx, r, result)
	return result, withOtherAccount(result.Platform, err)
}

// withOtherAccount adds Description.OtherAccount to the message of an AccountMismatch.
func withOtherAccount(d Description, err error) error {
	if d.OtherAccount == "" || !errors.Is(err, AccountMismatch) {
		return err
	}
	e := *AsError(err)
	e.Message += "; " + d.OtherAccount
	return &e
}

// result returns the part that every answer to the browser of the consent has.
func (c *consent) result() CallbackResult {
	return CallbackResult{
		ReturnURL: c.authorization.ReturnURL, Platform: c.platform.Describe(), Saved: Saved{Link: linkID(c.record.Link)},
	}
}

// findConsent returns the consent that the state names, to the browser that began
// it. A callback without that browser's cookie leaves the state alone: it may be a
// link preview, and no other browser can use it.
func (s *Service) findConsent(ctx context.Context, r CallbackRequest) (*consent, error) {
	p, err := s.platform(r.Platform)
	if err != nil {
		return nil, err
	}
	browser := r.browser(s.secure())
	if browser.Empty() || r.Issuer != "" && !slices.Contains(p.Describe().Issuers, r.Issuer) {
		return nil, errStateInvalid()
	}
	c, err := s.readConsent(ctx, hash(r.State))
	if errors.Is(err, ErrNotFound) || err == nil && !s.Now().Before(later(c.record.ExpiresAt, c.record.choiceEnds())) {
		return nil, errStateInvalid()
	}
	if err != nil {
		return nil, err
	}
	if c.record.Platform != r.Platform {
		return nil, errStateInvalid()
	}
	bound, err := bindToBrowser(browser, c.record.Authorization)
	if err != nil {
		return nil, err
	}
	// A release before the previous one bound a state to the value of the cookie alone.
	if c.ticket.Bound != bound && c.ticket.Bound != hash(browser) {
		s.reportIncident(ctx, ForeignCookie, "platform", string(c.record.Platform))
		return nil, errStateInvalid()
	}
	c.authorization.State = r.State
	if c.authorization.Verifier, err = codeVerifier(r.State, browser); err != nil {
		return nil, internal("ending an authorization", err)
	}
	return c, nil
}

// browser returns the value of the cookie that belongs to the state; empty
// where either is malformed.
func (r CallbackRequest) browser(secure bool) Secret {
	if !wellFormedToken(r.State) {
		return Secret{}
	}
	cookie := r.Browser(BrowserCookie(r.State, secure))
	if !wellFormedToken(cookie) {
		return Secret{}
	}
	return cookie
}

// bringToAnswer returns once the browser can be answered. Of several callbacks at
// once one redeems the code, and the others wait for it.
func (c *consent) bringToAnswer(ctx context.Context, r CallbackRequest) error {
	for try := 0; !c.record.answered(); try++ {
		free := c.record.Phase == consentOpen || !c.Now().Before(c.record.Until)
		switch {
		case c.record.Phase == consentOpen && r.Code.Empty() && c.refusal(r) == nil:
			return Invalid("code", "missing")
		case free && insufficientTime(ctx), remaining(ctx) < StoreBudget:
			return errUnfinished()
		case free:
			err := c.proceed(ctx, r)
			if !errors.Is(err, errLate) {
				return err
			}
		default:
			if err := c.pause(ctx, try); err != nil {
				return internal("waiting for a consent", err)
			}
		}
		err := c.read(ctx)
		if errors.Is(err, ErrNotFound) {
			return errStateInvalid()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// proceed takes the state and redeems the code, or continues a consent that
// another caller began. errLate: another caller does that.
func (c *consent) proceed(ctx context.Context, r CallbackRequest) error {
	if c.record.Phase != consentOpen {
		return c.resume(ctx)
	}
	if err := c.take(ctx, r.browser(c.secure())); err != nil {
		return err
	}
	if refusal := c.refusal(r); refusal != nil {
		return c.fail(ctx, refusal, nil)
	}
	if c.record.Confirm && c.authorization.ReturnURL == "" {
		return c.fail(ctx, errNowhereToConfirm(), nil)
	}
	if err := c.redeem(ctx, r.Code); err != nil {
		return c.fail(ctx, internal("exchanging the code", err), nil)
	}
	if err := c.storeRedeemed(ctx); err != nil {
		return err
	}
	return c.complete(ctx)
}

// refusal returns the error that the platform sent in place of a code, or nil. Beside a
// code only error counts: a platform may send the other parameters with a code.
func (c *consent) refusal(r CallbackRequest) *Error {
	if r.Refusal["error"] == "" && !r.Code.Empty() {
		return nil
	}
	return c.platform.AuthorizationError(r.Refusal)
}

// redeem exchanges the code, once.
func (c *consent) redeem(ctx context.Context, code Secret) error {
	if err := c.readApp(ctx); err != nil {
		return err
	}
	if err := c.CredentialStore.Prepare(ctx); err != nil {
		return internal("preparing the credential store", err)
	}
	redeemed, err := exchangeInTime(ctx, c.Service, c.app, func(ctx context.Context, app App) (Credentials, error) {
		if err := c.spendExchange(ctx); err != nil {
			return Credentials{}, err
		}
		return c.platform.Redeem(ctx, app, c.authorization, code)
	})
	redeemed.ClientID, redeemed.Generation = c.app.ClientID, 1
	c.credentials = redeemed
	return err
}

func (c *consent) readApp(ctx context.Context) error {
	app, err := c.consentApp(ctx, c.platform)
	c.app = app
	return err
}

// spendExchange reserves the exchange of a code. Whoever has a link can make codes
// up, and each is a call to the platform in the name of the app.
func (c *consent) spendExchange(ctx context.Context) error {
	return c.spend(ctx,
		c.chargeLink(ExchangesPerLink, c.record.Link),
		c.chargeOwner(ExchangesPerOwner, c.record.Owner, 1))
}

// storeRedeemed stores what the code yielded: sealed into the record, so that it
// takes one write. Where the record cannot be written, the vault gets it, where
// resume finds it.
func (c *consent) storeRedeemed(ctx context.Context) error {
	ref, err := c.CredentialStore.Hold(ctx, c.credentialsKey(), c.credentials)
	if err != nil {
		_, putErr := c.CredentialStore.Put(ctx, c.credentialsKey(), CredentialsRef{}, c.credentials)
		c.discardLate(ctx)
		return internal("sealing what a code yielded", errors.Join(err, putErr))
	}
	next := c.record
	next.Phase = consentRedeemed
	if next.RedeemedAt.IsZero() {
		next.RedeemedAt = c.Now().UTC()
	}
	next.Credentials = &consentCredentials{Generation: ref.Generation, Sealed: ref.Sealed}
	next.Extended = next.Extended || c.extended
	writeCtx, cancel := rescueContext(ctx)
	defer cancel()
	if err = c.write(writeCtx, next, Change{}); err == nil {
		return nil
	}
	if rescueErr := c.CredentialStore.Rescue(ctx, c.credentialsKey(), ref, c.credentials); rescueErr != nil {
		c.Log.ErrorContext(ctx, "rescuing what a code yielded", "platform", string(c.record.Platform), "error", rescueErr)
	}
	c.discardLate(ctx)
	return internal("storing what a code yielded", err)
}

// discardLate removes what a caller that was held up has put into the vault after
// another caller ended the consent: nobody would look for it.
func (c *consent) discardLate(ctx context.Context) {
	err := c.read(ctx)
	switch {
	case errors.Is(err, ErrNotFound):
	case err != nil, c.record.Phase != consentDone, c.record.Credentials != nil:
		return
	}
	if c.record.RedeemedAt.IsZero() { // the other caller did not have it
		grants, err := c.grants(ctx)
		if err = cmp.Or(err, c.revokeEach(ctx, grants)); err != nil {
			c.Log.WarnContext(ctx, "revoking an unused grant", "platform", string(c.record.Platform), "error", err)
		}
	}
	c.forgetRescued(ctx)
}

// forgetRescued deletes what the vault has of the consent.
func (c *consent) forgetRescued(ctx context.Context) {
	if err := c.CredentialStore.Delete(ctx, c.credentialsKey(), CredentialsRef{}, true); err != nil {
		c.Log.WarnContext(ctx, "deleting what a code yielded", "platform", string(c.record.Platform), "error", err)
	}
}

// answer returns the result for the browser: the same each time.
func (c *consent) answer(ctx context.Context, r CallbackRequest, result CallbackResult) (CallbackResult, error) {
	var err error
	switch {
	case c.record.Failure != nil:
		return result, c.failure(ctx)
	case c.record.Phase == consentChoosing:
		result.Choices, err = c.choices(ctx)
		result.ChooseBefore = c.record.ConfirmBefore
		return result, err
	case c.record.Confirm && c.authorization.ReturnURL == "":
		return result, errNowhereToConfirm()
	case c.record.Confirm:
		result.Confirmation, err = deriveConfirmation(r.State, r.browser(c.secure()))
		return result, err
	}
	if len(c.saved) == 0 {
		result.Saved, err = c.savedByLink(ctx)
		return result, err
	}
	result.Saved = c.savedResult()
	return result, err
}

// savedResult returns the connections that were saved until now. Connections has those of
// this caller alone.
func (c *consent) savedResult() Saved {
	return Saved{
		Connections: c.saved[:min(len(c.saved), maxPage)], Connected: len(c.savedIDs),
		Accounts: max(c.record.Accounts-c.record.LeftOut, len(c.savedIDs)), LeftOut: c.record.LeftOut, Link: linkID(c.record.Link),
	}
}

// savedByLink returns what was saved by the link. It waits for another caller that is
// still saving the first accounts.
func (c *consent) savedByLink(ctx context.Context) (Saved, error) {
	for try := 0; ; try++ {
		l, _, err := c.readLinkStatus(ctx, linkID(c.record.Link))
		switch {
		case errors.Is(err, ErrNotFound):
			return Saved{}, errStateInvalid()
		case err != nil:
			return Saved{}, err
		case l.saved() > 0:
			found, err := c.linkConnections(ctx, linkID(l.Hash), 0, min(l.saved(), maxPage))
			return Saved{Connections: found, Connected: l.saved(), Accounts: l.Accounts, LeftOut: l.LeftOut, Link: linkID(l.Hash)}, err
		case l.Phase != linkSpent:
			return Saved{}, errLinkGone()
		case remaining(ctx) < StoreBudget:
			return Saved{}, errUnfinished()
		}
		if err := c.pause(ctx, try); err != nil {
			return Saved{}, internal("waiting for a consent", err)
		}
	}
}

// errNowhereToConfirm says that the origin of the return URL was removed meanwhile.
func errNowhereToConfirm() error {
	return Invalid("return_url", "there is none that the confirmation could be sent to")
}

func errStateInvalid() error {
	return &Error{Code: StateInvalid, Message: "this authorization is unknown, expired, or was begun in another browser: start again"}
}

// errUnfinished says that another caller, or the sweep, continues the consent.
func errUnfinished() error {
	return &Error{Code: PlatformUnavailable, Reason: reasonUnfinished, RetryAfter: consentSlack, Err: errTimeShort,
		Message: "the authorization arrived and is not finished yet: reload this page in a moment"}
}
