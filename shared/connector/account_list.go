package connector

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// This file lists the accounts of a consent. If the list takes longer than the time of
// one caller, the parts that were read are stored, and the next caller continues.

// ListAccounts returns the accounts of all parts of a list. list returns the part at a
// cursor, as Platform.Accounts does. Beside an error ListAccounts returns the grants of
// that answer.
func ListAccounts(list func(cursor string) (AccountList, error)) ([]Grant, error) {
	var all merged
	for cursor := ""; ; {
		part, err := list(cursor)
		if err != nil {
			return part.Grants, err
		}
		for _, g := range part.Grants {
			all.add(g)
		}
		if cursor = part.Next; cursor == "" {
			return all.grants, nil
		}
	}
}

// merged are the grants of several parts of a list: one for each account.
type merged struct {
	grants []Grant
	index  map[string]int // the index in grants, by account id
}

// add adds a grant. A complete grant replaces an incomplete one of the same account.
func (m *merged) add(g Grant) {
	if m.index == nil {
		m.index = map[string]int{}
	}
	at, known := m.index[g.Account.ID]
	switch {
	case !known || g.Account.ID == "":
		m.index[g.Account.ID] = len(m.grants)
		m.grants = append(m.grants, g)
	case m.grants[at].Incomplete && !g.Incomplete:
		m.grants[at] = g
	}
}

// accounts are the accounts of a consent, as far as the platform has listed them.
type accounts struct {
	merged
	covered []string // see AccountList
	next    string   // the cursor of the next part; empty: all parts were read

	// stored says that the ticket has some parts, and readBefore is how many accounts
	// they name.
	stored     bool
	readBefore int
}

// grants returns the grants of the consent. It asks the platform once. Beside an error it
// returns the grants to revoke.
func (c *consent) grants(ctx context.Context) ([]Grant, error) {
	if c.listed != nil {
		return c.listed.grants, nil
	}
	if err := c.ensureApp(ctx); err != nil {
		return nil, err
	}
	all, err := c.readAccounts(ctx)
	if err != nil {
		return nil, err
	}
	for first := len(all.grants) == 0; first || all.next != ""; first = false {
		list, err := readInTime(ctx, c.Service, c.app, func(ctx context.Context, app App) (AccountList, error) {
			return c.platform.Accounts(ctx, app, c.credentials, all.next)
		})
		if err != nil {
			if errors.Is(err, errTimeShort) || retryable(err) && len(all.grants) >= linkPage {
				c.storeAccounts(ctx, all)
			}
			for _, g := range list.Grants {
				all.grants = append(all.grants, c.granted(g))
			}
			return all.grants, internal("asking what was granted", err)
		}
		for _, g := range list.Grants {
			all.add(c.granted(g))
		}
		all.covered, all.next = list.Covered, list.Next
	}
	if all.stored {
		c.storeAccounts(ctx, all)
	}
	c.listed = all
	return all.grants, nil
}

// storedAccounts is the body of the ticket of an unfinished list. It has no token: the
// token of each account is requested when the account is saved.
type storedAccounts struct {
	Person   string          `json:"person"`
	Accounts []storedAccount `json:"accounts"`
	Covered  []string        `json:"covered"` // null: not known
	Next     string          `json:"next,omitempty"`
}

type storedAccount struct {
	ID   string `json:"id"`
	Name string `json:"name,omitempty"`
}

// compressed is how the body is stored: an item of the table has 400 KB at most
// (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html,
// read 2026-11-25), and a list of thousands of accounts has more.
type compressed struct {
	Gzip []byte `json:"gzip"`
}

// maxAccountsBody is the largest size of a stored list after decompression, in bytes.
const maxAccountsBody = 4 << 20

func (c *consent) accountsKey() RecordKey { return RecordKey{Kind: ConsentAccountsKind, ID: c.id} }

// storeAccounts stores the parts that were read, in one transaction with the record of
// the consent. That record names the person, so that an erasure finds the parts. After a
// failure the next caller begins the list again. Only the caller that continues the
// consent stores.
func (c *consent) storeAccounts(ctx context.Context, all *accounts) {
	if len(all.grants) == 0 || c.record.Phase != consentRedeemed {
		return
	}
	c.userID = userOf(all.grants[0])
	list := storedAccounts{Person: c.userID, Covered: all.covered, Next: all.next}
	for _, g := range all.grants {
		list.Accounts = append(list.Accounts, storedAccount{g.Account.ID, g.Account.Name})
	}
	body, err := compress(list)
	var ticket Ticket
	if err == nil {
		ticket, err = newTicket(ConsentAccountsKind, c.id, c.Now().Add(pendingLife), body)
	}
	if err == nil {
		next := c.record
		next.AccountsStored = true
		err = c.write(ctx, next, Change{Overwrite: []Ticket{ticket}})
	}
	c.progressed = c.progressed || err == nil && len(all.grants) > all.readBefore
	if err != nil {
		c.Log.WarnContext(ctx, "storing a part of the accounts of a consent", "platform", string(c.record.Platform), "error", err)
	}
}

// readAccounts returns the parts that earlier callers stored.
func (c *consent) readAccounts(ctx context.Context) (*accounts, error) {
	all := &accounts{}
	if !c.record.AccountsStored {
		return all, nil
	}
	body, err := ticketBody[compressed](ctx, c.Service, c.accountsKey())
	if errors.Is(err, ErrNotFound) {
		return all, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := expand(body)
	if err != nil {
		c.Log.ErrorContext(ctx, "the stored accounts of a consent cannot be read: listing them again", "error", err)
		return all, nil
	}
	all.stored, all.next, all.covered = true, list.Next, list.Covered
	for _, a := range list.Accounts {
		all.add(c.granted(Grant{Account: Account(a), UserID: list.Person, Incomplete: true}))
	}
	all.readBefore = len(all.grants)
	return all, nil
}

func compress(list storedAccounts) (compressed, error) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if err := errors.Join(json.NewEncoder(w).Encode(list), w.Close()); err != nil {
		return compressed{}, fmt.Errorf("compressing: %w", err)
	}
	return compressed{b.Bytes()}, nil
}

func expand(body compressed) (list storedAccounts, err error) {
	r, err := gzip.NewReader(bytes.NewReader(body.Gzip))
	if err != nil {
		return list, fmt.Errorf("expanding: %w", err)
	}
	err = json.NewDecoder(io.LimitReader(r, maxAccountsBody)).Decode(&list)
	return list, err
}
