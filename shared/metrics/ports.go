package metrics

import (
	"context"
	"errors"
	"time"

	"platform-api-connector/shared/connector"
)

// Observe wraps the ports of s so that the meter counts their calls. It must
// be called once, before s is used.
func (m *Meter) Observe(s *connector.Service) {
	platforms := make([]connector.Platform, len(s.Platforms))
	for i, p := range s.Platforms {
		platforms[i] = m.platform(p)
	}
	s.Platforms = platforms
	m.connections = s.Store
	s.Store = store{s.Store, m}
	s.CredentialStore = credentials{s.CredentialStore, m}
	s.OnIncident = func(i connector.Incident) { m.write(single(string(i)), dimensions{}) }
	s.Events = events{s.Events, m}
}

// platform wraps p so that the meter counts its calls. The result implements
// the same optional interfaces as p.
func (m *Meter) platform(p connector.Platform) connector.Platform {
	observed := platform{Platform: p, meter: m, name: p.Describe().Name}
	revoker, revokes := p.(connector.Revoker)
	noticer, notices := p.(connector.Noticer)
	if signer, signs := p.(connector.Signer); signs {
		return observeSigner(observed, signer)
	}
	switch {
	case revokes && notices:
		return struct {
			platform
			connector.Revoker
			connector.Noticer
		}{observed, revoker, noticer}
	case revokes:
		return struct {
			platform
			connector.Revoker
		}{observed, revoker}
	case notices:
		return struct {
			platform
			connector.Noticer
		}{observed, noticer}
	}
	return observed
}

// observeSigner returns observed with the optional interfaces of a Signer.
func observeSigner(observed platform, signer connector.Signer) connector.Platform {
	revoker, revokes := observed.Platform.(connector.Revoker)
	noticer, notices := observed.Platform.(connector.Noticer)
	switch {
	case revokes && notices:
		return struct {
			platform
			connector.Revoker
			connector.Noticer
			connector.Signer
		}{observed, revoker, noticer, signer}
	case revokes:
		return struct {
			platform
			connector.Revoker
			connector.Signer
		}{observed, revoker, signer}
	case notices:
		return struct {
			platform
			connector.Noticer
			connector.Signer
		}{observed, noticer, signer}
	}
	return struct {
		platform
		connector.Signer
	}{observed, signer}
}

type platform struct {
	connector.Platform
	meter *Meter
	name  connector.Name
}

// Redeem implements connector.Platform.
func (p platform) Redeem(ctx context.Context, app connector.App, a connector.Authorization, code connector.Secret) (connector.Credentials, error) {
	redeemed, err := p.Platform.Redeem(ctx, app, a, code)
	p.recordCall(err)
	return redeemed, err
}

// Extend implements connector.Platform.
func (p platform) Extend(ctx context.Context, app connector.App, redeemed connector.Credentials) (connector.Credentials, error) {
	lasting, err := p.Platform.Extend(ctx, app, redeemed)
	p.recordCall(err)
	return lasting, err
}

// Accounts implements connector.Platform.
func (p platform) Accounts(ctx context.Context, app connector.App, consent connector.Credentials, cursor string) (connector.AccountList, error) {
	list, err := p.Platform.Accounts(ctx, app, consent, cursor)
	p.recordCall(err)
	return list, err
}

// Account implements connector.Platform.
func (p platform) Account(ctx context.Context, app connector.App, consent connector.Credentials, g connector.Grant) (connector.Grant, error) {
	grant, err := p.Platform.Account(ctx, app, consent, g)
	p.recordCall(err)
	return grant, err
}

// Verify implements connector.Platform.
func (p platform) Verify(ctx context.Context, app connector.App, c connector.Credentials) (connector.Verification, error) {
	verification, err := p.Platform.Verify(ctx, app, c)
	p.recordCall(err)
	return verification, err
}

// Refresh implements connector.Platform.
func (p platform) Refresh(ctx context.Context, app connector.App, c connector.Credentials) (connector.Credentials, error) {
	renewed, err := p.Platform.Refresh(ctx, app, c)
	p.recordCall(err)
	outcome, failed := "refreshed", 0.0
	if err != nil {
		code := connector.AsError(err).Code
		outcome = string(code)
		if !code.GrantDead() && !code.AppRefused() {
			failed = 1
		}
	}
	name := string(p.name)
	p.meter.write(
		[]measurement{{Refreshes, count, 1}, {FailedRefreshes, count, failed}},
		dimensions{}, dimensions{Platform: name}, dimensions{Platform: name, Outcome: outcome})
	return renewed, err
}

func (p platform) recordCall(err error) {
	p.meter.mu.Lock()
	p.meter.stats.platformCalls++
	p.meter.mu.Unlock()
	if err != nil && connector.AsError(err).Code == connector.AppMisconfigured {
		p.meter.write(single(AppRefused), dimensions{}, dimensions{Platform: string(p.name)})
	}
}

type store struct {
	connector.Store
	meter *Meter
}

// Commit implements connector.Store.
func (s store) Commit(ctx context.Context, change connector.Change) (connector.Connection, error) {
	c, err := s.Store.Commit(ctx, change)
	if err == nil && change.Before != nil && change.After != nil {
		s.countNeedsReauth(*change.Before, *change.After)
	}
	return c, err
}

// countNeedsReauth counts a connection that was marked. It counts the write and not the
// event, which may be sent more than once.
func (s store) countNeedsReauth(before, after connector.Connection) {
	if after.Status != connector.NeedsReauth || before.Status == after.Status && before.StatusReason == after.StatusReason {
		return
	}
	platform := dimensions{Platform: string(after.Platform)}
	s.meter.write(single(NeedsReauth), dimensions{}, platform)
	if after.StatusReason == connector.ReasonAccountChanged {
		s.meter.write(single(AccountChanged), dimensions{}, platform)
	}
}

// Due implements connector.Store.
func (s store) Due(ctx context.Context, shard int, now time.Time, limit int) ([]connector.Due, error) {
	due, err := s.Store.Due(ctx, shard, now, limit)
	s.meter.mu.Lock()
	defer s.meter.mu.Unlock()
	for _, d := range due {
		s.meter.stats.due[d.RecordKey] = d.DueAt
	}
	return due, err
}

type credentials struct {
	connector.CredentialStore
	meter *Meter
}

// Get implements connector.CredentialStore.
func (s credentials) Get(ctx context.Context, key connector.CredentialsKey, ref connector.CredentialsRef) (connector.Credentials, error) {
	creds, err := s.CredentialStore.Get(ctx, key, ref)
	s.record(err)
	return creds, err
}

// Latest implements connector.CredentialStore.
func (s credentials) Latest(ctx context.Context, key connector.CredentialsKey, ref connector.CredentialsRef) (connector.Credentials, connector.CredentialsRef, error) {
	creds, latest, err := s.CredentialStore.Latest(ctx, key, ref)
	s.record(err)
	return creds, latest, err
}

func (s credentials) record(err error) {
	if errors.Is(err, connector.ErrMismatch) {
		s.meter.write(single(CredentialsMismatch), dimensions{})
	}
}

type events struct {
	connector.Events
	meter *Meter
}

// Publish implements connector.Events.
func (e events) Publish(ctx context.Context, list ...connector.Event) ([]connector.ID, error) {
	for _, event := range list {
		if age := e.meter.now().Sub(event.OccurredAt); age >= connector.SendWithin {
			e.meter.write([]measurement{{LateEvents, count, 1}, {LateEventAge, seconds, age.Seconds()}}, dimensions{})
		}
	}
	return e.Events.Publish(ctx, list...)
}
