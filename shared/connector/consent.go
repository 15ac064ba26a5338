package connector

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"time"
)

// A consent is an authorization with what became of it. Its record is the ticket
// of the state. Each phase is one conditional write:
//
//	open      → taken     by one callback of the browser that began it
//	taken     → redeemed  what the code yielded is sealed into the record
//	redeemed  → choosing  of a link with choose, until Choose or its end
//	choosing  → redeemed  by Choose
//	redeemed  → waiting   of a link with confirm, until Confirm or its end
//	waiting   → redeemed  by Confirm
//	redeemed  → done      in the transaction that saves the only account, or
//	                      after the last one
//	any       → done      after a failure, which the record holds
//
// A record is due from the phase taken on, so that the sweep continues the consent after
// a crash. The caller that continues a consent holds it until an instant. A record that
// is done answers repeated callbacks of its browser.

// consentRecord is the body of the ticket:
//
//	{…the authorization, "phase":…, "holder":…, "until":…, "redeemed_at":…,
//	 "credentials":{"generation":…, "sealed":…}, "extended":…, "person":…,
//	 "accounts":…, "selected":…, "left":…, "reserved":…, "reserved_at":…, "left_out":…,
//	 "accounts_stored":…,
//	 "spent":…, "confirmation":…, "confirm_before":…, "confirmed":…,
//	 "tries":…, "retry_at":…, "failure":{"code":…, "reason":…, "message":…, "missing_scopes":…}}
//
// The previous release stores the authorization alone, which is a record that is
// open.
type consentRecord struct {
	Authorization
	Phase consentPhase `json:"phase,omitempty"`
	// Holder is the call that continues the consent, and Until is when another
	// may do so.
	Holder string    `json:"holder,omitempty"`
	Until  time.Time `json:"until,omitzero"`

	RedeemedAt time.Time `json:"redeemed_at,omitzero"`
	// Credentials refer to what the code yielded, as long as it is needed: until
	// all accounts are saved, or until the grant is revoked.
	Credentials *consentCredentials `json:"credentials,omitempty"`
	// Extended says that Credentials are the lasting ones.
	Extended bool `json:"extended,omitempty"`
	// Person is a hash of who consented; empty until the platform named them.
	Person   string `json:"person,omitempty"`
	Accounts int    `json:"accounts,omitempty"` // how many were selected
	Spent    bool   `json:"spent,omitempty"`    // the link, by this consent
	// Selected says that Left lists the accounts that are still to be saved, in this
	// order. Otherwise all accounts are. The previous release saves all.
	Selected bool     `json:"selected,omitempty"`
	Left     []string `json:"left,omitempty"`
	LeftOut  int      `json:"left_out,omitempty"` // accounts that the platform did not give
	// AccountsStored says that a ticket has the accounts that were listed so far.
	AccountsStored bool `json:"accounts_stored,omitempty"`
	// Reserved is how many new connections are still charged to the owner's budget,
	// since ReservedAt.
	Reserved   int       `json:"reserved,omitempty"`
	ReservedAt time.Time `json:"reserved_at,omitzero"`

	// Confirmation is the id of the confirmation's ticket. ConfirmBefore also ends the
	// time for the choice.
	Confirmation  string    `json:"confirmation,omitempty"`
	ConfirmBefore time.Time `json:"confirm_before,omitzero"`
	Confirmed     bool      `json:"confirmed,omitempty"`

	// Tries is how often the consent was postponed, and RetryAt is when the sweep
	// continues it.
	Tries   int             `json:"tries,omitempty"`
	RetryAt time.Time       `json:"retry_at,omitzero"`
	Failure *consentFailure `json:"failure,omitempty"`
}

// consentPhase is what was done last. The zero phase is open.
type consentPhase string

const (
	consentOpen     consentPhase = ""
	consentTaken    consentPhase = "taken"
	consentRedeemed consentPhase = "redeemed"
	consentChoosing consentPhase = "choosing"
	consentWaiting  consentPhase = "waiting"
	consentDone     consentPhase = "done"
)

// consentCredentials is a CredentialsRef as it is stored in a consent.
type consentCredentials struct {
	Generation int64  `json:"generation"`
	Sealed     []byte `json:"sealed"`
}

func (c *consentCredentials) ref() CredentialsRef {
	if c == nil {
		return CredentialsRef{}
	}
	return CredentialsRef{Generation: c.Generation, Sealed: c.Sealed}
}

// consentFailure is how a consent failed, for callbacks that come again. It does not
// name an account: no erasure would find the name.
type consentFailure struct {
	Code          Code      `json:"code"`
	Reason        string    `json:"reason,omitempty"`
	Message       string    `json:"message,omitempty"`
	MissingScopes []string  `json:"missing_scopes,omitempty"`
	ResetsAt      time.Time `json:"resets_at,omitzero"`
	// OtherAccount says that the message names the account to choose.
	OtherAccount bool `json:"other_account,omitempty"`
}

func newConsentFailure(err error) *consentFailure {
	e := AsError(err)
	f := &consentFailure{Code: e.Code, Reason: e.Reason, Message: e.Message, MissingScopes: e.MissingScopes, ResetsAt: e.ResetsAt}
	if errors.Is(err, errNotTheTarget) {
		f.Message, f.OtherAccount = "", true
	}
	return f
}

// failure returns how the consent failed.
func (c *consent) failure(ctx context.Context) error {
	f := c.record.Failure
	if f.OtherAccount {
		target, err := c.target(ctx, c.record.Authorization)
		if err != nil || target == nil {
			return errOtherAccount("")
		}
		return errOtherAccount(target.AccountName)
	}
	return &Error{Code: f.Code, Reason: f.Reason, Message: f.Message, MissingScopes: f.MissingScopes, ResetsAt: f.ResetsAt}
}

// answered reports whether the browser has its answer.
func (r consentRecord) answered() bool {
	switch r.Phase {
	case consentChoosing, consentWaiting, consentDone:
		return true
	case consentRedeemed:
		return r.handedOver()
	}
	return false
}

// handedOver reports whether the worker saves the other accounts of the consent.
func (r consentRecord) handedOver() bool { return r.queued() && r.Selected && r.Spent }

// queued reports whether the consent was left to the worker.
func (r consentRecord) queued() bool {
	return r.Phase == consentRedeemed && r.Holder == "" && r.RetryAt.IsZero()
}

// dueAt is when the sweep should continue the consent; zero: never.
func (r consentRecord) dueAt() time.Time {
	switch {
	case r.queued():
		return r.Until
	case r.Phase == consentTaken, r.Phase == consentRedeemed:
		return clamp(r.RetryAt, r.Until.Add(consentSlack), time.Time{})
	case r.Phase == consentChoosing, r.Phase == consentWaiting:
		return r.ConfirmBefore.Add(confirmationSlack)
	case r.Phase == consentDone && r.Credentials != nil:
		return r.Until
	}
	return time.Time{}
}

// choiceEnds is when the time for the choice ends; zero if the link has no choice. Until
// then a browser that repeats its choice gets the first answer again.
func (r consentRecord) choiceEnds() time.Time {
	if !r.Choose {
		return time.Time{}
	}
	return r.ConfirmBefore
}

// expiresAt is when the table may delete the record. A record that is done stays
// for as long as another tab of its link can end.
func (r consentRecord) expiresAt(now time.Time) time.Time {
	switch {
	case r.Phase == consentOpen:
		return r.ExpiresAt
	case r.Phase == consentDone && r.Credentials == nil:
		return now.Add(consentMemory)
	}
	return now.Add(pendingLife)
}

// consent is a consent in the hands of one caller.
type consent struct {
	*Service
	id       string // of the record; tells it from the other consents of its link
	platform Platform
	app      App
	record   consentRecord
	ticket   Ticket // the record as it is stored
	// authorization is that of the record, with what only the browser knows.
	authorization Authorization
	credentials   Credentials // what the code yielded
	extended      bool        // credentials are the lasting ones
	// userID is who consented, once the platform named them.
	userID string
	// resumed says that another caller began the consent. continued says that the worker
	// saves the rest of its accounts.
	resumed, continued bool
	// progressed says that this caller listed or saved accounts.
	progressed bool
	// link is the status of the link as it was read, with its ticket.
	link       linkStatus
	linkTicket Ticket
	selected   int          // how many grants are to be saved
	saved      []Connection // by this caller, so far
	// savedIDs are the ids of all connections that the consent saved. The first paged
	// ids are in the pages of the link.
	savedIDs []ID
	paged    int
	// disconnected is the error of an account if its connection ended meanwhile.
	disconnected error
	// listed are the accounts, once the platform was asked; nil before.
	listed *accounts
}

func consentKey(id string) RecordKey { return RecordKey{Kind: StateKind, ID: id} }

// readConsent returns the consent of that id, or ErrNotFound.
func (s *Service) readConsent(ctx context.Context, id string) (*consent, error) {
	c := &consent{Service: s, id: id}
	err := c.read(ctx)
	if err != nil {
		return nil, err
	}
	c.platform, err = s.platform(c.record.Platform)
	return c, err
}

// read reads the record, for the first time or again. What only the browser knows
// stays. ErrNotFound: it expired.
func (c *consent) read(ctx context.Context) error {
	ticket, err := c.Store.Ticket(ctx, consentKey(c.id), c.Now())
	if errors.Is(err, ErrNotFound) {
		return ErrNotFound
	}
	if err != nil {
		return internal("reading a consent", err)
	}
	var r consentRecord
	if err := decodeBody(ticket, &r); err != nil {
		return err
	}
	state, verifier := c.authorization.State, c.authorization.Verifier
	c.ticket, c.record, c.authorization = ticket, r, r.Authorization
	c.userID = cmp.Or(c.userID, ticket.UserID)
	c.authorization.State, c.authorization.Verifier = state, verifier
	if c.checkReturnURL(c.authorization.ReturnURL) != nil {
		c.authorization.ReturnURL = "" // its origin was removed from RETURN_ORIGINS meanwhile
	}
	return nil
}

// write writes the record as next in one transaction with more. errLate: another
// caller continued the consent. ErrConflict: another part of the transaction
// failed. A store that fails is tried again until ctx ends.
func (c *consent) write(ctx context.Context, next consentRecord, more Change) error {
	change, ticket, err := c.changeTo(next, more)
	if err != nil {
		return err
	}
	for try := 0; ; try++ {
		_, err := c.Store.Commit(ctx, change)
		if err != nil {
			err = c.afterFailedWrite(ctx, ticket, err)
		}
		if err == nil {
			c.wrote(next, ticket)
			c.refundAccounts(ctx)
			return nil
		}
		if errors.Is(err, errLate) || errors.Is(err, ErrConflict) {
			return err
		}
		if ctx.Err() != nil || c.pause(ctx, try) != nil {
			return internal("writing a consent", err)
		}
	}
}

// changeTo returns more with the write of the record as next.
func (c *consent) changeTo(next consentRecord, more Change) (Change, Ticket, error) {
	if next.AccountsStored && next.Credentials == nil {
		next.AccountsStored = false
		more.Drop = append(more.Drop[:len(more.Drop):len(more.Drop)], c.accountsKey())
	}
	if next.Phase == consentDone {
		next.Left, next.Reserved = nil, 0 // an erasure would not find these ids
	}
	ticket, err := newTicket(StateKind, c.id, next.expiresAt(c.Now()), next)
	if err != nil {
		return Change{}, Ticket{}, err
	}
	ticket.Bound, ticket.DueAt = c.ticket.Bound, next.dueAt().UTC()
	if next.Credentials != nil && c.userID != "" {
		ticket.Platform, ticket.UserID = next.Platform, c.userID
	}
	more.Replace = append(more.Replace[:len(more.Replace):len(more.Replace)], Replacement{Old: c.ticket, New: ticket})
	return more, ticket, nil
}

// wrote notes that the record is stored as next.
func (c *consent) wrote(next consentRecord, ticket Ticket) { c.record, c.ticket = next, ticket }

// afterFailedWrite finds out what became of a write that failed with cause. It
// returns nil if the write succeeded although its answer was lost.
func (c *consent) afterFailedWrite(ctx context.Context, ticket Ticket, cause error) error {
	fresh, err := c.Store.Ticket(ctx, consentKey(c.id), c.Now())
	switch {
	case err == nil && bytes.Equal(fresh.Body, ticket.Body):
		return nil
	case errors.Is(err, ErrNotFound), err == nil && !bytes.Equal(fresh.Body, c.ticket.Body):
		return errLate
	case err == nil && errors.Is(cause, ErrConflict):
		return ErrConflict
	}
	return internal("writing a consent", cause)
}

// held returns r as the caller continues it, until the caller can do no more.
func (c *consent) held(ctx context.Context, r consentRecord) (consentRecord, error) {
	holder, err := c.newName()
	if err != nil {
		return r, err
	}
	r.Holder, r.Until = holder, c.leaseEnd(ctx)
	return r, nil
}

// take makes the caller the one that redeems the code. errLate: another is. The
// sweep knows the confirmation by its hash alone.
func (c *consent) take(ctx context.Context, browser Secret) error {
	next, err := c.held(ctx, c.record)
	if err != nil {
		return err
	}
	next.Phase = consentTaken
	if next.Confirm {
		confirmation, err := deriveConfirmation(c.authorization.State, browser)
		if err != nil {
			return err
		}
		next.Confirmation = hash(confirmation)
	}
	return c.write(ctx, next, Change{})
}

// acquire makes the caller the one that continues a consent whose holder
// crashed, or gave up until a later try. errLate: another is.
func (c *consent) acquire(ctx context.Context) error {
	next, err := c.held(ctx, c.record)
	if err != nil {
		return err
	}
	next.RetryAt, c.resumed = time.Time{}, true
	return c.write(ctx, next, Change{})
}

// credentialsKey is the key of what the code yielded.
func (c *consent) credentialsKey() CredentialsKey {
	return CredentialsKey{Kind: OfConsent, ID: c.id, Owner: c.record.Owner, Platform: c.record.Platform}
}

// name is the ConsentID of the connections that the consent saves.
func (c *consent) name() string { return c.id[:16] }

// destination is where the grants of the consent are saved.
func (c *consent) destination(target *Connection) destination {
	return destination{owner: c.record.Owner, requested: c.record.Scopes, target: target, consent: c}
}

// person is the hash of who consented, in a record that outlives an erasure.
func (c *consent) person() string { return platformHash(c.record.Platform, c.userID) }

// bindToBrowser returns what the record of a state is bound to: the value in the
// browser's cookie and the authorization. Who can write to the table, and does not
// know that value, cannot change the owner of an authorization in flight.
func bindToBrowser(browser Secret, a Authorization) (string, error) {
	body, err := json.Marshal(a)
	if err != nil {
		return "", internal("encoding an authorization", err)
	}
	return hash(NewSecret(browser.Reveal() + "\n" + string(body))), nil
}

// deriveConfirmation derives the confirmation of a consent. Only its hash is
// stored, and the browser that began the consent can be given it again.
func deriveConfirmation(state, browser Secret) (Secret, error) {
	key, err := hkdf.Key(sha256.New, []byte(browser.Reveal()), []byte(state.Reveal()), "confirmation", 32)
	if err != nil {
		return Secret{}, internal("deriving a confirmation", err)
	}
	return NewSecret(base64.RawURLEncoding.EncodeToString(key)), nil
}
